"""Which unit of one network plays the part of which unit of another: assignment by similarity, signs included."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from weightspace.gauge.leg import factor_positions, leg_dims, nest, only
from weightspace.groups import Monomial
from weightspace.spec import Axis, Factor, NetworkSpec, ParamSpec
from weightspace.weights import Element, WeightFeatures

__all__ = ["Parity", "Similarities", "assign", "leg_parity", "similarities"]

LETTERS = "bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Powers modulo two of the sign factors of an axis, after those of the axes it is nested in, outermost first.
Parity = tuple[tuple[int, ...], ...]

# By axis and by the parity with which signs change it: (batch, old outer, new outer, ..., old unit, new unit).
Similarities = Mapping[str, Mapping[Parity, Tensor]]

# One sign per sign factor, of an axis after those of the axes it is nested in, outermost first.
Signs = tuple[tuple[float, ...], ...]


def similarities(x: WeightFeatures, to: WeightFeatures, outermost: str) -> Similarities:
    """How much of the inner product of two networks each pair of units of one axis would bring.

    For an axis with others nested in it, these come too, each for every pair of outer units. A parameter that has
    the axis as two of its indices counts once for each, with the other held where it is.

    Args:
        x: the networks whose units are to be moved.
        to: the networks they are compared with, as many.
        outermost: an axis that is nested in no other.

    Shapes:
        By axis and by the parity of its sign powers `(batch, old outer, new outer, ..., old unit, new unit)`.
    """
    spec, found = x.spec, dict[str, dict[Parity, Tensor]]()
    family = {axis.name for axis in spec.free_axes if nest(spec, axis.name)[0].name == outermost}
    for param in spec.params:
        members = [leg.axis for leg in param.legs if leg.axis in family]
        for position, leg in enumerate(param.legs):
            inner = {axis.name for axis in spec.axes if axis.within == leg.axis}
            if leg.axis not in family or inner & set(members):
                continue  # pairs of outer units are worth what their inner units bring
            parity = leg_parity(spec, param, position)
            of_axis = found.setdefault(leg.axis, {})
            brought = torch.einsum(_paired(spec, param, position), x[param.name], to[param.name])
            of_axis[parity] = of_axis[parity] + brought if parity in of_axis else brought
    return found


def leg_parity(spec: NetworkSpec, param: ParamSpec, position: int) -> Parity:
    """With which parity the signs of one leg's units, and of the units around them, change a parameter."""
    legs = [param.legs[dim - 1] for dim in leg_dims(spec, param, position)]
    return tuple(tuple(leg.powers[f] for f in factor_positions(spec.axis(leg.axis), Factor.SIGN)) for leg in legs)


def _paired(spec: NetworkSpec, param: ParamSpec, position: int) -> str:
    """The sum over all indices but one leg and its outer legs, which stay apart for the two networks."""
    dims, ndim = leg_dims(spec, param, position), len(param.legs) + 2
    old = LETTERS[:ndim]
    new = "".join(LETTERS[ndim + dim] if dim in dims else letter for dim, letter in enumerate(old))
    return f"{old},{new}->{old[0]}{''.join(old[dim] + new[dim] for dim in dims)}"


def assign(spec: NetworkSpec, outermost: str, found: Similarities, batch: int) -> Element:
    """The permutations and signs of one axis, and of those nested in it, that bring the largest similarity.

    The sign of a pair of units is the one that makes it more similar, and pairs are assigned by what is left; outer
    units by what their inner units bring at best. Each assignment is exact.
    """
    return only(spec, batch, _Family(spec, found).solve(spec.axis(outermost), (batch,), ())[1])


@dataclass(frozen=True)
class _Family:
    """An axis with all that are nested in it, and how similar their units are."""

    spec: NetworkSpec
    found: Similarities

    def solve(self, axis: Axis, pairs: tuple[int, ...], around: Signs) -> tuple[Tensor, dict[str, Monomial]]:
        """What the best assignment brings for each pair of outer units, and the parts that achieve it.

        Args:
            axis: whose units are assigned, with all that are nested in them.
            pairs: `(batch, old outer, new outer, ...)`, the shape of what is returned first. The parts have these
                dimensions ahead of those of the axes from `axis` inwards.
            around: signs of the outer units, outermost first.
        """
        value, parts = self._with_best_signs(axis, (*pairs, axis.size, axis.size), around)
        perm = _assigned(value.flatten(0, -3)).to(value.device)
        rows, units = torch.arange(len(perm), device=perm.device).unsqueeze(1), torch.arange(axis.size).to(perm.device)

        def chosen(t: Tensor) -> Tensor:
            """The entries of matched pairs of a tensor `(*pairs, old unit, new unit, ...)`."""
            flat = t.reshape(len(perm), axis.size, axis.size, *t.shape[len(pairs) + 2 :])
            return flat[rows, perm, units].reshape(*pairs, axis.size, *t.shape[len(pairs) + 2 :])

        matched = {name: _mapped(part, chosen) for name, part in parts.items()}
        matched[axis.name] = Monomial(perm.reshape(*pairs, axis.size), matched[axis.name].scale)
        return chosen(value).sum(-1), matched

    def _with_best_signs(self, axis: Axis, shape: tuple[int, ...], around: Signs) -> tuple[Tensor, dict[str, Monomial]]:
        """What each pair of units brings with its best signs; these signs, and the parts of the axes inside."""
        inside = [inner for inner in self.spec.free_axes if inner.within == axis.name]
        values, choices = [], list[dict[str, Monomial]]()
        for signs in product((1.0, -1.0), repeat=len(factor_positions(axis, Factor.SIGN))):
            solved = [self.solve(inner, shape, (*around, signs)) for inner in inside]
            values.append(sum((brought for brought, _ in solved), self._similarity(axis, shape, (*around, signs))))
            own = {axis.name: _constant(axis, shape, signs, values[0].device)}
            choices.append({name: part for _, parts in solved for name, part in parts.items()} | own)
        best, which = torch.stack(values).max(0)
        return best, {
            name: Monomial(
                _picked([parts[name].perm for parts in choices], which),
                _picked([parts[name].scale.movedim(1, -1) for parts in choices], which).movedim(-1, 1),
            )
            for name in choices[0]
        }

    def _similarity(self, axis: Axis, shape: tuple[int, ...], signs: Signs) -> Tensor:
        """The similarity of each pair of units under given signs of both and of the units around them."""
        like = next((t for by_parity in self.found.values() for t in by_parity.values()), torch.zeros(1))
        total = like.new_zeros(shape)
        for parity, similarity in self.found.get(axis.name, {}).items():
            powers = [
                (s, p) for of_axis, by in zip(signs, parity, strict=True) for s, p in zip(of_axis, by, strict=True)
            ]
            total = total + prod(s for s, power in powers if power) * similarity
        return total


def _constant(axis: Axis, shape: tuple[int, ...], signs: tuple[float, ...], device: torch.device) -> Monomial:
    """The same signs for every pair of units; which old unit a new one is, is not yet known."""
    scale = torch.ones(shape[0], len(axis.symmetry.factors), *shape[1:], dtype=torch.float64, device=device)
    for position, sign in zip(factor_positions(axis, Factor.SIGN), signs, strict=True):
        scale[:, position] = sign
    return Monomial(torch.zeros(shape, dtype=torch.int64, device=device), scale)


def _picked(choices: list[Tensor], which: Tensor) -> Tensor:
    """For every pair of units the one of several tensors `(*which, ...)` that its choice of signs points to."""
    stacked = torch.stack(choices)
    index = which.reshape(1, *which.shape, *(1 for _ in stacked.shape[1 + which.ndim :]))
    return stacked.gather(0, index.expand(1, *stacked.shape[1:])).squeeze(0)


def _assigned(values: Tensor) -> Tensor:
    """For each matrix `(old unit, new unit)` of a batch the old unit of every new one, all together worth the most."""
    costs = values.detach().to("cpu", torch.float64).mT.numpy()
    return torch.stack([torch.from_numpy(linear_sum_assignment(cost, maximize=True)[1]) for cost in costs])


def _mapped(part: Monomial, chosen: Callable[[Tensor], Tensor]) -> Monomial:
    """The part of an inner axis for the pairs of outer units that were chosen."""
    return Monomial(chosen(part.perm), chosen(part.scale.movedim(1, -1)).movedim(-1, 1))
