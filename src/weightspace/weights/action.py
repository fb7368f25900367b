"""Group elements of a weight space and how they act on features: the only code that moves them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.errors import SymmetryError
from weightspace.groups import Monomial
from weightspace.spec import Axis, Factor, NetworkSpec, ParamSpec
from weightspace.weights.features import WeightFeatures

__all__ = ["Element", "act", "identity", "sample_element"]


@dataclass(frozen=True, eq=False)
class Element:
    """A batch of elements of the symmetry group of some axes: one batch of monomial matrices per free axis.

    Args:
        axes: the free axes, each outer axis before those nested in it.
        parts: the monomial matrices of each, by axis name.

    Symmetry:
        `act(g @ h, x) == act(g, act(h, x))` and `act(g.inverse(), act(g, x)) == x`.
    """

    axes: tuple[Axis, ...]
    parts: Mapping[str, Monomial]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values()))) if self.parts else 1

    def __getitem__(self, rows: Tensor | slice) -> "Element":
        return Element(self.axes, {name: part[rows] for name, part in self.parts.items()})

    def __matmul__(self, other: "Element") -> "Element":
        return Element(
            self.axes, {a.name: self.parts[a.name] @ self._reorder(a, other.parts[a.name]) for a in self.axes}
        )

    def inverse(self) -> "Element":
        """The elements that undo these."""
        done: dict[str, Monomial] = {}
        for axis in self.axes:
            blockwise = self.parts[axis.name].inverse()
            done[axis.name] = Element(self.axes, done)._reorder(axis, blockwise)
        return Element(self.axes, done)

    def _reorder(self, axis: Axis, part: Monomial) -> Monomial:
        """The blocks of a nested axis's part, moved as this element moves the outer units."""
        perm, scale = part.perm, part.scale
        for depth, outer in enumerate(_outer_axes(self.axes, axis), start=1):
            by = self.parts[outer.name]
            perm = by.move(perm, range(1, depth + 1))
            scale = by.move(scale, range(2, depth + 2))
        return Monomial(perm, scale)


def _outer_axes(axes: tuple[Axis, ...], axis: Axis) -> list[Axis]:
    """The axes that `axis` is nested in and that can move, outermost first."""
    by_name = {a.name: a for a in axes}
    chain: list[Axis] = []
    while axis.within is not None and axis.within in by_name:
        axis = by_name[axis.within]
        chain.insert(0, axis)
    return chain


def _free_axes(spec: NetworkSpec) -> tuple[Axis, ...]:
    """The free axes, outer ones first. Raises where a free axis is nested in one that cannot move."""
    free = {axis.name for axis in spec.free_axes}
    for axis in spec.free_axes:
        if axis.within is not None and axis.within not in free:
            raise SymmetryError(
                f"axis {axis.name!r} is free but nested in {axis.within!r}, which is fixed; "
                "describe each unit of the outer axis as parameters of its own."
            )
    return tuple(sorted(spec.free_axes, key=lambda axis: len(_outer_axes(spec.axes, axis))))


def _block_shape(axes: tuple[Axis, ...], axis: Axis) -> tuple[int, ...]:
    return (*(outer.size for outer in _outer_axes(axes, axis)), axis.size)


def identity(spec: NetworkSpec, batch: int = 1) -> Element:
    """The elements that change nothing."""
    axes = _free_axes(spec)
    parts = {}
    for axis in axes:
        shape = _block_shape(axes, axis)
        scale = torch.ones(batch, len(axis.symmetry.factors), *shape, dtype=torch.float64)
        parts[axis.name] = Monomial(torch.arange(axis.size).expand(batch, *shape), scale)
    return Element(axes, parts)


def sample_element(
    spec: NetworkSpec,
    batch: int,
    *,
    generator: torch.Generator | None = None,
    log_scale: float = 1.0,
    powers_of_two: bool = False,
    permute: bool = True,
) -> Element:
    """Random elements of the symmetry group: uniform permutations and signs, log-uniform positive scales.

    Args:
        spec: the space the elements act on.
        batch: how many elements.
        generator: source of randomness; `None` takes torch's global one.
        log_scale: positive factors lie between `10**-log_scale` and `10**log_scale` (decades).
        powers_of_two: round positive factors to powers of two, by which products and sums are scaled exactly.
        permute: whether units change place too.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(2, 8), Sine(30.0), torch.nn.Linear(8, 1)))
        >>> g = sample_element(spec, batch=4, generator=torch.Generator().manual_seed(0))
        >>> [(name, tuple(part.perm.shape), tuple(part.scale.shape)) for name, part in g.parts.items()]
        [('0', (4, 8), (4, 1, 8))]
    """
    axes = _free_axes(spec)
    parts = {}
    for axis in axes:
        shape = (batch, *_block_shape(axes, axis))
        perm = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(-1)
        perm = perm if permute else torch.arange(axis.size).expand(shape)
        factors = [_sample_factor(f, shape, generator, log_scale, powers_of_two) for f in axis.symmetry.factors]
        scale = torch.stack(factors, 1) if factors else torch.ones(batch, 0, *shape[1:], dtype=torch.float64)
        parts[axis.name] = Monomial(perm, scale)
    return Element(axes, parts)


def _sample_factor(
    factor: Factor, shape: tuple[int, ...], generator: torch.Generator | None, log_scale: float, powers_of_two: bool
) -> Tensor:
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    if factor is Factor.SIGN:
        return torch.where(uniform < 0, -1.0, 1.0).to(torch.float64)
    if powers_of_two:
        return torch.exp2((uniform * log_scale * 3.3219).round())
    return 10 ** (uniform * log_scale)


def act(g: Element, x: WeightFeatures) -> WeightFeatures:
    """The networks `x` with their units moved and scaled by `g`; every network's function stays what it was.

    Shapes:
        g has as many elements as `x` has networks, or one of both has length one and is used for all.

    Raises:
        SymmetryError: the element belongs to other axes than the features have.

    References:
        Tran et al., "Monomial Matrix Group Equivariant Neural Functional Networks", NeurIPS 2024, section 4: the
        action `W -> g_i W g_{i-1}^{-1}`, `b -> g_i b`.
    """
    if set(g.axes) != set(x.spec.free_axes):
        wrong = sorted({a.name for a in g.axes} ^ {a.name for a in x.spec.free_axes}) or "axes of equal names"
        raise SymmetryError(
            f"the group element and the features disagree on {wrong}; sample it from the features' spec."
        )
    if len(g) != len(x) and 1 not in (len(g), len(x)):
        raise SymmetryError(f"{len(g)} group elements for {len(x)} networks; expected as many, or one.")
    return WeightFeatures(x.spec, [_act_on(g, p, tensor) for p, tensor in zip(x.spec.params, x.tensors, strict=True)])


def _act_on(g: Element, param: ParamSpec, tensor: Tensor) -> Tensor:
    names = [leg.axis for leg in param.legs]
    batch = max(len(g), tensor.shape[0])
    tensor = tensor.expand(batch, *tensor.shape[1:])
    for position, leg in enumerate(param.legs):
        part = g.parts.get(leg.axis)
        if part is not None:
            tensor = part.apply(tensor, _leg_dims(g.axes, names, position), leg.powers)
    return tensor


def _leg_dims(axes: tuple[Axis, ...], names: list[str], position: int) -> list[int]:
    """Tensor dimensions of a leg's outer legs and of itself; the outer leg is the nearest one to the left."""
    dims = [position + 1]
    axis = next(a for a in axes if a.name == names[position])
    for outer in reversed(_outer_axes(axes, axis)):
        position = max(i for i in range(position) if names[i] == outer.name)
        dims.insert(0, position + 1)
    return dims
