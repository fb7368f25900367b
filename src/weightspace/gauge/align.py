"""Moving networks onto others by their symmetries: units matched by weights, up to scales, signs and phases."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.gauge.leg import nest, only
from weightspace.gauge.lift import lift, lifted_spec, lower, turn
from weightspace.gauge.match import assign, similarities
from weightspace.gauge.norm import gauge_norms
from weightspace.gauge.order import order_units
from weightspace.gauge.phase import fold_phases, phases, shift_phases
from weightspace.gauge.response import correlations
from weightspace.gauge.scale import balance
from weightspace.gauge.sign import settle_signs
from weightspace.groups import Monomial
from weightspace.spec import NetworkSpec
from weightspace.weights import Element, WeightFeatures, act, features_of

__all__ = ["Aligned", "align", "align_activations"]

# What was measured on data follows from the weights, and says nothing more about who plays which part.
STATISTICS = ("mean", "variance")


@dataclass(frozen=True, eq=False)
class Aligned:
    """Networks moved onto others, with what moved them.

    Args:
        features: the moved networks. They are `act(element, x)`, and for networks with sine units
            `act(element, fold_phases(x))` with half turns that bring the phases near those of the other networks.
        element: the group elements that moved them.
        distance: how far they are apart now, per network: the norm of the difference relative to that of the networks
            themselves, in the gauge in which they were compared. Zero means equal, about 1.4 means that they have
            nothing to do with each other.
    """

    features: WeightFeatures
    element: Element
    distance: Float[Tensor, " batch"]


def align(x: WeightFeatures, to: WeightFeatures, *, sweeps: int = 100, seed: int = 0) -> Aligned:
    r"""The networks `x` moved by their symmetries as near to the networks `to` as coordinate descent brings them.

    Both are first brought to the gauge in which units are driven with norm one, so that all that comes into one unit
    counts as much as all that comes into another: a gain as much as the whole kernel ahead of it. Running means and
    variances do not count. Then one axis at a time is moved: with all others held, the inner product of the two
    networks is a sum over pairs of units, and the best permutation with signs is a linear assignment. Axes that are
    nested in others are assigned for every pair of outer units on the way. Sweeps in random order go on until none is
    moved. The descent starts at the units' own order and at their canonical order, and the better end is taken: the
    former finds what two networks still share from a common beginning, the latter finds `to` exactly where `x` is a
    hidden copy of it in general position.

    A parameter that has one axis twice (a recurrent weight) makes the inner product quadratic in the permutation. The
    assignment then follows its slope, and a step is taken only where it helps.

    Args:
        x: the networks to be moved, with one channel or several.
        to: as many networks of the same space, or one for all.
        sweeps: the most times that all axes are visited.
        seed: of the order in which axes are visited.

    Raises:
        ShapeError: networks of different spaces, numbers of networks that do not fit, or entries that are not finite.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import sample_element
        >>> networks = [nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(3)]
        >>> to = features_of(spec_of(networks[0]), networks)
        >>> x = act(sample_element(to.spec, 3), to)
        >>> bool((align(x, to).distance < 1e-6).all())
        True

    References:
        Ainsworth, Hayase and Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", ICLR 2023,
        section 3.2, for permutations.
    """
    x, to = _paired(x, to)
    with torch.no_grad():
        pair = _Pair.of(x, to)
        ends = [_descend(pair, start, _outermost(x.spec), sweeps, seed) for start in pair.starts()]
        return pair.finish(_better(*ends))


def align_activations(module: nn.Module, to: nn.Module, spec: NetworkSpec, inputs: Any) -> Aligned:
    """One network moved onto another by what their units answer to the same inputs.

    Units are matched by the correlation of their values ahead of the activation, over samples and positions; where
    signs are free by its magnitude, and the sign is that of the correlation. Values are recorded where a module that
    owns parameters of a place gives one number per unit; axes without such a module are matched by their weights
    afterwards. Scales, and all that `Aligned` tells, are as for `align`.

    Args:
        module: the network to be moved; it is not changed, nor is the other.
        to: a network of the same architecture.
        spec: the space of both.
        inputs: what both are called with, in evaluation mode: a tensor, a tuple of arguments, a dict of keyword
            arguments, or the pair of both.

    Raises:
        ShapeError: a module that does not fit the spec.

    Example:
        >>> from weightspace.spec import spec_of
        >>> to = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> x = features_of(spec_of(to), to)
        >>> from weightspace.weights import sample_element
        >>> hidden = act(sample_element(x.spec, 1), x).to_modules(to)[0]
        >>> bool(align_activations(hidden, to, x.spec, torch.randn(100, 2)).distance < 1e-5)
        True

    References:
        Li et al., "Convergent Learning: Do different neural networks learn the same representations?", ICLR 2016.
    """
    with torch.no_grad():
        x, target = (features_of(spec, network) for network in (module, to))
        pair = _Pair.of(x, target)
        folded = [fold_phases(f).to_modules(network)[0] for f, network in ((x, module), (target, to))]
        found = correlations(folded[0], folded[1], spec, inputs)
        h = only(lifted_spec(spec), 1, {})
        for axis in found:
            h = assign(lifted_spec(spec), axis, found[axis], 1) @ h
        rest = [axis for axis in _outermost(spec) if axis not in found]
        canonical = pair.starts()[1].parts
        inside = {axis.name for axis in spec.free_axes if nest(spec, axis.name)[0].name in rest}
        other = Element(h.axes, {name: canonical[name] if name in inside else h.parts[name] for name in h.parts})
        return pair.finish(_better(*(_descend(pair, start, rest, sweeps=100, seed=0) for start in (h, other))))


def _paired(x: WeightFeatures, to: WeightFeatures) -> tuple[WeightFeatures, WeightFeatures]:
    """Both with as many networks."""
    if x.spec != to.spec or x.channels != to.channels:
        raise ShapeError(
            f"networks of a space of {x.spec.numel} parameters and {x.channels} channels cannot be moved onto those "
            f"of a space of {to.spec.numel} and {to.channels}; align networks of one architecture."
        )
    if len(x) != len(to) and 1 not in (len(x), len(to)):
        raise ShapeError(f"{len(x)} networks cannot be aligned to {len(to)}; give as many, or one for all.")
    batch = max(len(x), len(to))
    return tuple(f if len(f) == batch else f[[0] * batch] for f in (x, to))  # type: ignore[return-value]


def _outermost(spec: NetworkSpec) -> list[str]:
    return [axis.name for axis in spec.free_axes if axis.within is None]


@dataclass(frozen=True, eq=False)
class _Pair:
    """Networks and those they are moved onto, as they are and in the gauge in which they are compared."""

    x: WeightFeatures
    to: WeightFeatures
    gauges: tuple[Element, Element]
    even: tuple[WeightFeatures, WeightFeatures]

    @classmethod
    def of(cls, x: WeightFeatures, to: WeightFeatures) -> "_Pair":
        """Balance both, and divide every parameter by the norm with which the units that it leads to are driven."""
        folded = [fold_phases(f.to(torch.float64)) for f in (x, to)]
        gauges = (balance(folded[0]), balance(folded[1]))
        balanced = [act(gauge, f) for gauge, f in zip(gauges, folded, strict=True)]
        lifted = [lift(f) for f in balanced]
        shares = _shares(*lifted)
        even = [WeightFeatures(f.spec, [t * s for t, s in zip(f.tensors, shares, strict=True)]) for f in lifted]
        return cls(x, to, gauges, (even[0], even[1]))

    def starts(self) -> list[Element]:
        """Where a descent may begin: the units as they are, and both networks in canonical order."""
        ours, theirs = (_canonical_order(f) for f in self.even)
        return [only(self.even[0].spec, len(self.x), {}), theirs.inverse() @ ours]

    def finish(self, h: Element) -> Aligned:
        """The networks moved by `h` in the common gauge, seen in the gauge of those they are moved onto."""
        plain, signs = lower(self.x.spec, h)
        element = self.gauges[1].inverse() @ plain @ self.gauges[0]
        moved = turn(act(element, fold_phases(self.x)), signs, near=fold_phases(self.to))
        moved = shift_phases(moved, phases(self.to), back=True)
        y, to = act(h, self.even[0]), self.even[1]
        # The norm of the difference, and not what the inner product tells of it, which rounding spoils near zero.
        apart = WeightFeatures(y.spec, [a - b for a, b in zip(y.tensors, to.tensors, strict=True)])
        size = (_inner(y, y) + _inner(to, to)) / 2
        return Aligned(moved, element, (_inner(apart, apart) / torch.where(size > 0, size, 1.0)).sqrt())


def _canonical_order(x: WeightFeatures) -> Element:
    signs = settle_signs(x)
    return order_units(act(signs, x)) @ signs


def _shares(a: WeightFeatures, b: WeightFeatures) -> list[Tensor]:
    """By what each parameter is multiplied, per network, so that the units it leads to have norm one on average."""
    driven = [gauge_norms(x) for x in (a, b)]
    targets = {wire.param: wire.target for wire in reversed(a.spec.wires)}
    shares = []
    for param in a.spec.params:
        pair = (
            [norms[targets[param.name]] for norms in driven]
            if param.name in targets
            else [a[param.name], b[param.name]]
        )
        units = pair[0][0].numel()
        if param.name not in targets:  # all that is known is how many units the first leg has
            units = len(a[param.name][0]) if param.legs else 1
        size = torch.stack([norms.square().flatten(1).sum(1) for norms in pair]).sum(0).div(2 * units).sqrt()
        share = torch.where(size > 0, 1 / torch.where(size > 0, size, 1.0), 0.0)
        share = torch.zeros_like(share) if param.role in STATISTICS else share
        shares.append(share.reshape(-1, *(1 for _ in a[param.name].shape[1:])))
    return shares


@dataclass(frozen=True, eq=False)
class _End:
    """Where a descent has come to, and the inner product there, per network."""

    element: Element
    value: Tensor


def _descend(pair: _Pair, start: Element, axes: list[str], sweeps: int, seed: int) -> _End:
    """Move one axis after another to its best, in random order, until none is moved any more."""
    generator = torch.Generator().manual_seed(seed)
    h, y, to = start, act(start, pair.even[0]), pair.even[1]
    value, scale = _inner(y, to), _inner(y, y) + _inner(to, to)
    for _ in range(sweeps):
        improved = False
        for number in torch.randperm(len(axes), generator=generator).tolist():
            step = assign(y.spec, axes[number], similarities(y, to, axes[number]), len(y))
            moved = act(step, y)
            after = _inner(moved, to)
            better = after > value + 1e-12 * scale
            if better.any():
                h, improved = _where(better, step @ h, h), True
                y = WeightFeatures(y.spec, [_rows(better, a, b) for a, b in zip(moved.tensors, y.tensors, strict=True)])
                value = torch.where(better, after, value)
        if not improved:
            break
    return _End(h, value)


def _inner(y: WeightFeatures, to: WeightFeatures) -> Tensor:
    return sum((a * b).flatten(1).sum(1) for a, b in zip(y.tensors, to.tensors, strict=True))  # type: ignore[return-value]


def _better(first: _End, second: _End) -> Element:
    return _where(second.value > first.value, second.element, first.element)


def _where(rows: Tensor, g: Element, h: Element) -> Element:
    """The elements `g` in the chosen rows and `h` in the others."""
    return Element(
        g.axes,
        {
            name: Monomial(_rows(rows, part.perm, h.parts[name].perm), _rows(rows, part.scale, h.parts[name].scale))
            for name, part in g.parts.items()
        },
    )


def _rows(rows: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The chosen rows of `a` and the others of `b`."""
    return torch.where(rows.to(a.device).reshape(-1, *(1 for _ in a.shape[1:])), a, b)
