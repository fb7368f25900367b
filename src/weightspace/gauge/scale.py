"""Positive factors chosen so that every unit is driven with norm one."""

from collections.abc import Callable

import torch
from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.gauge.leg import block_shape, factor_positions, laid, leg_dims, scaling
from weightspace.gauge.norm import gauge_norms
from weightspace.spec import Axis, Factor, NetworkSpec
from weightspace.weights import Element, WeightFeatures, act

__all__ = ["balance"]

# Steps of the conjugate gradients: they converge in a few dozen, and rounding ends them at the latest here.
STEPS = 500


def balance(x: WeightFeatures) -> Element:
    r"""The positive factors that bring each network to the gauge in which units are driven with norm one.

    A place's norm `c` follows its axis's factors `d` by known powers, `c -> d^{A} c`. The factors solve
    :math:`A \log d = -\log c` over all places of the axis, by least squares where there are more places than factors
    (a residual stream, whose norms then have geometric mean one). Multiplying by any factors first changes the
    solution by just these factors, so every member of an orbit is brought to the same networks.

    What the norms cannot fix is fixed by a second rule ahead of the first, which needs no places: the logarithms of
    the magnitudes of all entries that are not zero are made as small as possible, in the sense of least squares. This
    concerns units that nothing reaches while something leaves them, and specs without places. A factor
    that is still free then touches no entry but zeros.

    Raises:
        ShapeError: entries that are not finite.

    Symmetry:
        `act(balance(act(d, x)), act(d, x)) == act(balance(x), x)` for positive factors `d`; no unit changes place.
    """
    _check_finite(x)
    x = x.to(torch.float64)
    axes = [axis for axis in x.spec.free_axes if factor_positions(axis, Factor.POSITIVE)]
    unsettled = _unsettled(x, axes)
    first = {}
    if unsettled.any():
        rows = unsettled.to(x.dtype)
        first = {name: s * rows.reshape(-1, *(1 for _ in s.shape[1:])) for name, s in _even_logs(x, axes).items()}
        x = act(_element(x.spec, first, len(x)), x)
    second = {axis.name: -_explained(x, axis, gauge_norms(x)) for axis in axes}
    return _element(x.spec, {name: first.get(name, 0) + logs for name, logs in second.items()}, len(x))


def _check_finite(x: WeightFeatures) -> None:
    for name, tensor in x.items():
        rows = (~tensor.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
        if rows:
            raise ShapeError(
                f"parameter {name!r} of network {rows[0]} has entries that are not finite, so it has no gauge; "
                "leave such networks out."
            )


def _element(spec: NetworkSpec, logs: dict[str, Tensor], batch: int) -> Element:
    return scaling(spec, Factor.POSITIVE, {name: values.exp() for name, values in logs.items()}, batch)


def _powers(spec: NetworkSpec, axis: Axis) -> tuple[list[str], list[list[float]]]:
    """The places of an axis with the powers by which their norms follow its positive factors."""
    acting = factor_positions(axis, Factor.POSITIVE)
    places = [place for place in spec.places if place.axis == axis.name]
    return [place.name for place in places], [[float(place.powers[f]) for f in acting] for place in places]


def _normal(x: WeightFeatures, axis: Axis, norms: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Per unit the matrix and the right side of the least squares for the logarithms of its norms."""
    names, rows = _powers(x.spec, axis)
    powers = x.tensors[0].new_tensor(rows).reshape(len(names), len(factor_positions(axis, Factor.POSITIVE)))
    shape = (0, len(x), *block_shape(x.spec, axis.name))
    driven = torch.stack([norms[name] for name in names]) if names else x.tensors[0].new_zeros(shape)
    alive = (driven > 0).to(x.dtype)
    logs = torch.where(driven > 0, driven, torch.ones_like(driven)).log()
    matrix = torch.einsum("p...,pf,pg->...fg", alive, powers, powers)
    return matrix, torch.einsum("p...,pf->...f", logs, powers)


def _explained(x: WeightFeatures, axis: Axis, norms: dict[str, Tensor]) -> Tensor:
    """The logarithms of factors that explain an axis's norms best. Shape `(batch, factors, *outer, units)`."""
    matrix, side = _normal(x, axis, norms)
    return (torch.linalg.pinv(matrix, hermitian=True) @ side.unsqueeze(-1)).squeeze(-1).movedim(-1, 1)


def _unsettled(x: WeightFeatures, axes: list[Axis]) -> Tensor:
    """Which networks have a unit whose norms leave one of its factors open. Shape `(batch,)`."""
    norms, rows = gauge_norms(x), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for axis in axes:
        matrix, _ = _normal(x, axis, norms)
        rank = torch.linalg.matrix_rank(matrix, hermitian=True)
        rows |= (rank < matrix.shape[-1]).flatten(1).any(1)
    return rows


def _even_logs(x: WeightFeatures, axes: list[Axis]) -> dict[str, Tensor]:
    r"""Logarithms `s` of factors that minimise :math:`\sum (\log|w| + \sum_{legs} power \cdot s)^2` over entries.

    The normal equations are solved by conjugate gradients without ever forming their matrix.
    """
    alive = [(tensor != 0).to(x.dtype).sum(-1) for tensor in x.tensors]
    logs = [torch.where(tensor == 0, torch.ones_like(tensor), tensor).abs().log().sum(-1) for tensor in x.tensors]
    shapes = {
        axis.name: (len(x), len(factor_positions(axis, Factor.POSITIVE)), *block_shape(x.spec, axis.name))
        for axis in axes
    }

    def matrix(v: Tensor) -> Tensor:
        per_entry = _along_legs(x.spec, _parted(v, shapes))
        return _joined(_legs_summed(x.spec, [a * e for a, e in zip(alive, per_entry, strict=True)], shapes))

    diagonal = _joined(_legs_summed(x.spec, alive, shapes, squared=True))
    side = -_joined(_legs_summed(x.spec, logs, shapes))
    return _parted(_conjugate_gradients(matrix, side, torch.where(diagonal > 0, diagonal, 1.0)), shapes)


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], side: Tensor, diagonal: Tensor) -> Tensor:
    """The solutions of a batch of positive semidefinite systems, each row one, preconditioned by the diagonal."""
    solution, residual = torch.zeros_like(side), side
    direction = residual / diagonal
    size = (residual * direction).sum(1, keepdim=True)
    target = 1e-30 * size
    for _ in range(STEPS):
        if bool((size <= target).all()):
            break
        moved = matrix(direction)
        curvature = (direction * moved).sum(1, keepdim=True)
        step = torch.where(size > target, size / torch.where(curvature > 0, curvature, 1.0), 0.0)
        solution, residual = solution + step * direction, residual - step * moved
        before, size = size, (residual * residual / diagonal).sum(1, keepdim=True)
        direction = residual / diagonal + size / torch.where(before > 0, before, 1.0) * direction
    return solution


def _parted(v: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    sizes = [torch.Size(shape[1:]).numel() for shape in shapes.values()]
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), v.split(sizes, 1), strict=True)}


def _joined(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts.values()], 1)


def _along_legs(spec: NetworkSpec, logs: dict[str, Tensor]) -> list[Tensor]:
    """Per parameter the sum over its legs of power times logarithm, without channels."""
    batch = len(next(iter(logs.values())))
    sums = []
    for param in spec.params:
        total = next(iter(logs.values())).new_zeros(batch, *spec.shape(param.name))
        for position, leg in enumerate(param.legs):
            for number, f in enumerate(factor_positions(spec.axis(leg.axis), Factor.POSITIVE)):
                if leg.powers[f]:
                    dims = leg_dims(spec, param, position)
                    total = total + leg.powers[f] * laid(logs[leg.axis][:, number], dims, total.ndim)
        sums.append(total)
    return sums


def _legs_summed(
    spec: NetworkSpec, entries: list[Tensor], shapes: dict[str, tuple[int, ...]], *, squared: bool = False
) -> dict[str, Tensor]:
    """The adjoint of `_along_legs`: what the entries of every unit's slices add up to, times the powers."""
    sums = {name: entries[0].new_zeros(shape) for name, shape in shapes.items()}
    for param, values in zip(spec.params, entries, strict=True):
        for position, leg in enumerate(param.legs):
            dims = leg_dims(spec, param, position)
            others = tuple(dim for dim in range(1, values.ndim) if dim not in dims)
            for number, f in enumerate(factor_positions(spec.axis(leg.axis), Factor.POSITIVE)):
                if leg.powers[f]:
                    power = leg.powers[f] ** 2 if squared else leg.powers[f]
                    sums[leg.axis][:, number] += power * (values.sum(others) if others else values)
    return sums
