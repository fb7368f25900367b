"""Every linear map between weight spaces that respects their symmetries."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import ShapeError, SymmetryError
from weightspace.layers.contraction import Reduction, Spread
from weightspace.layers.diagram import Half, constants, fits, source_halves, target_halves
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures, flatten, unflatten

__all__ = ["EquivariantLinear", "Term"]


# Share of an output's variance that averages over units get at initialisation.
AVERAGE_SHARE = 0.2


@dataclass(frozen=True)
class Mix:
    """All maps from some source halves to some target halves of one type: one matrix product over channels."""

    sources: tuple[Half, ...]
    targets: tuple[Half, ...]


@dataclass(frozen=True)
class Term:
    """One equivariant map of a layer with its coefficients, a view of the layer's parameter.

    Shapes:
        coefficients: `(fixed indices of the target, channels_out, fixed indices of the source, channels_in)`.
    """

    source: Half
    target: Half
    coefficients: Float[Tensor, "fixed_out channels_out fixed_in channels_in"]


class EquivariantLinear(nn.Module):
    r"""The complete affine layer between features of one symmetry group.

    For parameters `t` and `s` the output is
    :math:`y_t = \sum_s \sum_\pi D_\pi x_s + c_t`, where :math:`\pi` runs over the diagrams of `layers.diagram`
    and each map :math:`D_\pi` mixes channels and fixed indices freely; sums over units are means. Maps of equal type
    are done as one matrix product, so no tensor larger than the features is ever formed.

    Args:
        spec: space of the input features.
        channels_in: feature channels of the input.
        channels_out: feature channels of the output.
        spec_out: space of the output where it differs from the input's; it must have the same free axes.
        bias: whether to add a constant wherever the symmetry allows one.
        allowed: which maps to keep, by their source and target halves; by default all.

    Shapes:
        `(batch, *axes, channels_in)` to `(batch, *axes, channels_out)` per parameter.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`, and every affine map with this property is the layer for some weights.

    Raises:
        SymmetryError: `spec_out` has other free axes than `spec`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))
        >>> layer = EquivariantLinear(spec, channels_in=1, channels_out=1)
        >>> layer.linear_parameters, layer.constant_parameters
        (15, 1)

    References:
        Tran et al., "Monomial Matrix Group Equivariant Neural Functional Networks", NeurIPS 2024, section 5: this
        layer for scales or signs. Zhou et al., "Permutation Equivariant Neural Functionals", NeurIPS 2023, equation 3:
        this layer for permutations.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        channels_in: int,
        channels_out: int,
        *,
        spec_out: NetworkSpec | None = None,
        bias: bool = True,
        allowed: Callable[[Half, Half], bool] | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.spec_out = spec, spec_out or spec
        self.channels_in, self.channels_out = channels_in, channels_out
        if set(self.spec.free_axes) != set(self.spec_out.free_axes):
            wrong = sorted({a.name for a in set(self.spec.free_axes) ^ set(self.spec_out.free_axes)})
            raise SymmetryError(f"input and output spec differ in the free axes {wrong}; only fixed axes may differ.")
        targets = [half for param in self.spec_out.params for half in target_halves(self.spec_out, param)]
        self.mixes = list(_mixes(self.spec, targets, allowed or (lambda source, target: True)))
        self.spreads = [half for half in targets if bias and constants(self.spec_out, half)]
        self.weights = nn.ParameterList(torch.empty(self._rows(mix), self._columns(mix)) for mix in self.mixes)
        self.constants = nn.ParameterList(torch.empty(self._width_out(half)) for half in self.spreads)
        self._plan()
        self.reset_parameters()

    def _plan(self) -> None:
        """What a forward pass does, worked out beforehand: every source half is reduced once."""
        halves = list(dict.fromkeys(half for mix in self.mixes for half in mix.sources))
        self._reductions = [Reduction.of(half, self.spec) for half in halves]
        self._steps = [
            (
                [halves.index(half) for half in mix.sources],
                [self._width_out(half) for half in mix.targets],
                [Spread.of(half, self.spec_out) for half in mix.targets],
            )
            for mix in self.mixes
        ]
        self._constant_spreads = [Spread.of(half, self.spec_out) for half in self.spreads]

    def _width_in(self, half: Half) -> int:
        return half.fixed_size(self.spec) * self.channels_in

    def _width_out(self, half: Half) -> int:
        return half.fixed_size(self.spec_out) * self.channels_out

    def _columns(self, mix: Mix) -> int:
        return sum(self._width_in(half) for half in mix.sources)

    def _rows(self, mix: Mix) -> int:
        return sum(self._width_out(half) for half in mix.targets)

    @property
    def linear_parameters(self) -> int:
        """Number of coefficients of linear maps: their dimension times both channel counts."""
        return sum(weight.numel() for weight in self.weights)

    @property
    def constant_parameters(self) -> int:
        """Number of coefficients of constants."""
        return sum(constant.numel() for constant in self.constants)

    def reset_parameters(self) -> None:
        """Draw coefficients that keep the variance of features over depth; constants start at zero.

        What all units have in common passes through averages unchanged, what tells them apart does not. So averages
        get a small share of the variance: enough to be heard, too little for the common part to outgrow the rest.
        """
        terms = list(self.terms())
        fans: dict[tuple[str, bool], int] = {}
        for term in terms:
            key = term.target.param, self._averages(term)
            fans[key] = fans.get(key, 0) + self._width_in(term.source)
        with torch.no_grad():
            for term in terms:
                average = self._averages(term)
                both = (term.target.param, not average) in fans
                share = 1.0 if not both else AVERAGE_SHARE if average else 1 - AVERAGE_SHARE
                term.coefficients.normal_(std=(share / fans[term.target.param, average]) ** 0.5)
            for constant in self.constants:
                constant.zero_()

    def _averages(self, term: Term) -> bool:
        return term.source.closed_size(self.spec) > 1

    def terms(self) -> Iterator[Term]:
        """Every equivariant map of the layer with its coefficients: what a slow twin sums one by one."""
        for mix, weight in zip(self.mixes, self.weights, strict=True):
            bands = weight.split([self._width_out(half) for half in mix.targets])
            for target, band in zip(mix.targets, bands, strict=True):
                pieces = band.split([self._width_in(half) for half in mix.sources], dim=1)
                for source, piece in zip(mix.sources, pieces, strict=True):
                    shape = (-1, self.channels_out, source.fixed_size(self.spec), self.channels_in)
                    yield Term(source, target, piece.view(shape))

    def to_dense(self) -> Float[Tensor, "numel_out numel_in"]:
        """The linear part of a layer from one channel to one as a matrix. Shape `(numel_out, numel_in)`.

        Raises:
            ShapeError: a layer with several channels.
        """
        if (self.channels_in, self.channels_out) != (1, 1):
            raise ShapeError(f"a layer of {self.channels_in} -> {self.channels_out} channels; to_dense takes 1 -> 1.")
        like = next(self.parameters())
        basis = unflatten(self.spec, torch.eye(self.spec.numel, dtype=like.dtype, device=like.device))
        return (flatten(self(basis)) - flatten(self(basis.map(torch.zeros_like)))).T

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Apply the layer. Raises `ShapeError` for features of another space or channel count."""
        x.expect(self.spec, self.channels_in)
        reduced = [reduction(x.tensors[reduction.param]) for reduction in self._reductions]
        mixed = []
        for (sources, _, _), weight in zip(self._steps, self.weights, strict=True):
            inputs = [reduced[source] for source in sources]
            # The largest tensor is usually alone: to join or split one tensor would copy it, forward or backward.
            mixed.append(F.linear(torch.cat(inputs, dim=-1) if len(inputs) > 1 else inputs[0], weight))
        return self._spread(mixed, x)

    def _spread(self, mixed: Iterable[Tensor], x: WeightFeatures) -> WeightFeatures:
        """Every mix over the parameters that it is for, and the constants; `x` tells the batch and the type."""
        parts: list[list[tuple[int, Tensor]]] = [[] for _ in self.spec_out.params]
        for mix, (_, widths, spreads) in zip(mixed, self._steps, strict=True):
            bands = mix.split(widths, dim=-1) if len(widths) > 1 else (mix,)
            for spread, band in zip(spreads, bands, strict=True):
                parts[spread.param].append((spread.size, spread(band, self.channels_out)))
        for spread, constant in zip(self._constant_spreads, self.constants, strict=True):
            parts[spread.param].append((0, spread(constant[None], self.channels_out)))
        return WeightFeatures(self.spec_out, [self._total(row, terms, x) for row, terms in enumerate(parts)])

    def _total(self, row: int, terms: list[tuple[int, Tensor]], x: WeightFeatures) -> Tensor:
        """The sum of all terms of a parameter, small ones first so that few passes run over the large one."""
        shape = (len(x), *self.spec_out.shape(self.spec_out.params[row].name), self.channels_out)
        if not terms:
            return x.tensors[0].new_zeros(shape)
        first, *others = (term for _, term in sorted(terms, key=itemgetter(0)))
        for term in others:
            first = first + term
        return first.expand(shape)

    def extra_repr(self) -> str:
        """Channels and parameter counts, for `print(layer)`."""
        counts = f"{self.linear_parameters:,} linear and {self.constant_parameters:,} constant parameters"
        return f"{self.channels_in} -> {self.channels_out} channels, {counts}"


def _mixes(spec: NetworkSpec, targets: list[Half], allowed: Callable[[Half, Half], bool]) -> Iterator[Mix]:
    """Group all pairs of halves that fit together into full products of sources and targets."""
    sources = [half for param in spec.params for half in source_halves(spec, param)]
    for kind in dict.fromkeys(half.type for half in targets):
        same = [half for half in sources if half.type == kind]
        by_sources: dict[tuple[Half, ...], list[Half]] = {}
        for target in (half for half in targets if half.type == kind):
            fitting = tuple(half for half in same if fits(spec, half, target) and allowed(half, target))
            if fitting:
                by_sources.setdefault(fitting, []).append(target)
        yield from (Mix(fitting, tuple(group)) for fitting, group in by_sources.items())
