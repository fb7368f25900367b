"""What units answer to inputs: values recorded by hooks, and how two networks' values are correlated."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.gauge.leg import block_shape, factor_positions, nest
from weightspace.gauge.lift import lifted_places, lifted_spec
from weightspace.gauge.match import Parity, Similarities, leg_parity
from weightspace.gauge.norm import wire_ends
from weightspace.spec import Factor, NetworkSpec, Place
from weightspace.spec.trace import arguments_of

__all__ = ["correlations", "responses"]


def responses(module: nn.Module, spec: NetworkSpec, inputs: Any) -> dict[str, tuple[str, Tensor]]:
    """The values ahead of the activation of every place that one module alone computes.

    Recorded is what a module that owns parameters of wires into a single place gives out, where one dimension of it
    runs over the place's units. A module that is called several times gives all its answers.

    Returns:
        By path of the module, the name of the place and the values `(samples, *outer, units)`, in which positions
        count as samples.

    Example:
        >>> from weightspace.spec import spec_of
        >>> network = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3))
        >>> found = responses(network, spec_of(network), torch.randn(5, 2, 10))
        >>> {path: (place, tuple(values.shape)) for path, (place, values) in found.items()}
        {'0': ('0', (40, 4)), '2': ('2', (30, 2))}
    """
    module = copy.deepcopy(module).eval()
    found: dict[str, list[Tensor]] = {}
    owners = _owners(module, spec)
    for path, place in owners.items():
        shape = block_shape(spec, place.axis)

        def record(layer: nn.Module, _inputs: object, output: object, path: str = path, shape: tuple = shape) -> None:
            values = _by_unit(layer, output, shape)
            if values is not None:
                found.setdefault(path, []).append(values)

        module.get_submodule(path).register_forward_hook(record)
    with torch.no_grad():
        positional, keywords = arguments_of(inputs)
        module(*positional, **keywords)
    return {path: (owners[path].name, torch.cat(values)) for path, values in found.items()}


def _owners(module: nn.Module, spec: NetworkSpec) -> dict[str, Place]:
    """The modules whose parameters all lead into one place, by path."""
    leads: dict[str, set[str]] = {}
    for wire in spec.wires:
        if wire.param is not None:
            view = spec.param(wire.param).view
            path = view.key.rpartition(".")[0]
            # A block that is a part of a stored tensor belongs to a module that answers for other blocks too.
            leads.setdefault(path, set()).update([wire.target] if view.strides is None else [wire.target, ""])
    places = {place.name: place for place in spec.places}
    paths = dict(module.named_modules())
    return {path: places[next(iter(names))] for path, names in leads.items() if len(names) == 1 and path in paths}


def _by_unit(layer: nn.Module, output: object, shape: tuple[int, ...]) -> Tensor | None:
    """An answer as `(samples, *outer, units)`, where a dimension of it runs over the units."""
    if not isinstance(output, Tensor) or output.ndim < 2:
        return None
    units = torch.Size(shape).numel()
    dims = [dim for dim in range(1, output.ndim) if output.shape[dim] == units]
    if not dims:
        return None
    maps = isinstance(layer, nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm | nn.GroupNorm)
    return output.movedim(dims[0] if maps else dims[-1], -1).reshape(-1, *shape)


def correlations(module: nn.Module, to: nn.Module, spec: NetworkSpec, inputs: Any) -> dict[str, Similarities]:
    """How alike the units of two networks answer, for every free axis with recorded values.

    Returns:
        By outermost axis the similarities that `assign` takes: correlations, summed over places. Units that give the
        same answer to everything are correlated with none.
    """
    found: dict[str, dict[str, dict[Parity, Tensor]]] = {}
    places = {place.name: place for place in spec.places}
    ours, theirs = responses(module, spec, inputs), responses(to, spec, inputs)
    for path in ours.keys() & theirs.keys():
        place = places[ours[path][0]]
        axis = spec.axis(place.axis)
        if axis.symmetry.permutes:
            of_axis = found.setdefault(nest(spec, axis.name)[0].name, {}).setdefault(axis.name, {})
            for parity, answer in _answers(spec, place, path):
                alike = _correlated(answer(ours[path][1]), answer(theirs[path][1]))
                of_axis[parity] = of_axis[parity] + alike if parity in of_axis else alike
    return dict(found)


def _answers(spec: NetworkSpec, place: Place, path: str) -> list[tuple[Parity, Callable[[Tensor], Tensor]]]:
    """What is compared of a module's values, with the parity by which signs of the lifted space change it."""
    lifted, parity = lifted_spec(spec), _parity(spec, place, path)
    for sine in lifted_places(spec):
        if sine.name == place.name:
            # Half turns change what goes into the sine; what comes out of it tells them from signs.
            behind = (*parity[:-1], (*parity[-1], 0))
            return [((*parity[:-1], (*parity[-1], 1)), _unchanged), (behind, partial(_sine, step=sine.step))]
    more = len(factor_positions(lifted.axis(place.axis), Factor.SIGN)) - len(parity[-1])
    return [((*parity[:-1], (*parity[-1], *(0 for _ in range(more)))), _unchanged)]


def _parity(spec: NetworkSpec, place: Place, path: str) -> Parity:
    """With which parity signs change a module's values: that of a parameter which is added to them or makes them."""
    for wire in spec.wires:
        if wire.param is not None and spec.param(wire.param).view.key.rpartition(".")[0] == path:
            target, source = wire_ends(spec, wire)
            # A gain multiplies what comes to it, so that its own powers are those of a quotient.
            if target is not None and spec.param(wire.param).role != "gain" and (source is not None or not wire.source):
                return leg_parity(spec, spec.param(wire.param), target)
    outer = [tuple(0 for _ in factor_positions(axis, Factor.SIGN)) for axis in nest(spec, place.axis)[:-1]]
    return (*outer, tuple(place.powers[f] for f in factor_positions(spec.axis(place.axis), Factor.SIGN)))


def _unchanged(values: Tensor) -> Tensor:
    return values


def _sine(values: Tensor, step: float) -> Tensor:
    return torch.sin(torch.pi / step * values)


def _correlated(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of all pairs of units: `(1, old outer, new outer, ..., old unit, new unit)`."""
    shape = a.shape[1:]
    rows = [_standardised(values.flatten(1).to(torch.float64)) for values in (a, b)]
    pairs = (rows[0].mT @ rows[1] / len(a)).reshape(*shape, *shape)
    order = [dim + half * len(shape) for dim in range(len(shape)) for half in (0, 1)]
    return pairs.permute(order).unsqueeze(0)


def _standardised(values: Tensor) -> Tensor:
    values = values - values.mean(0)
    size = values.square().mean(0).sqrt()
    return values / torch.where(size > 0, size, torch.ones_like(size))
