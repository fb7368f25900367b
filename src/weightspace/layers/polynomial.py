"""Polynomial layers: equivariant linear maps of weights and of their products along paths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import SpecError
from weightspace.layers.blend import BlendedLinear, Origin, Reading, outer
from weightspace.layers.carry import FEW
from weightspace.layers.diagram import Half
from weightspace.layers.linear import EquivariantLinear
from weightspace.layers.path import Joint, Paths, product_param
from weightspace.layers.thin import add_mixed
from weightspace.layers.wiring import SOURCE, TARGET, Wiring
from weightspace.spec import FIXED, Axis, Factor, Leg, NetworkSpec, ParamSpec, View
from weightspace.weights import WeightFeatures

__all__ = ["PathInvariants", "PathProducts"]

# Up to so many channels of all thin factors, matrix products take no longer than what moves numbers to spare them.
SMALL = 32
# Share of an inner weight's variance that products through the outputs get at initialisation.
COUPLED_SHARE = 0.3


class Coupling(nn.Module):
    r"""A joint's products :math:`p_i \Psi_i q`: one for each path `i` into its target.

    Args:
        joint: where the products stand.
        ends: number of ends of each path into the target.
        outputs: number of ends of the paths from the source.
        channels: feature channels.
    """

    def __init__(self, joint: Joint, ends: Sequence[int], outputs: int, channels: int) -> None:
        super().__init__()
        self.joint, self.outputs = joint, outputs
        self.weights = nn.ParameterList(torch.empty(channels, n, outputs) for n in ends)
        # A product goes through as many numbers per unit as there are ends at the side where they are fewer.
        self.by_outputs = outputs <= sum(ends)

    def reset_parameters(self) -> None:
        """Draw couplings that give products of unit variance."""
        for weight in self.weights:
            nn.init.normal_(weight, std=1 / sqrt(weight.shape[1] * self.outputs))

    def factors(self, paths: Paths) -> tuple[list[Tensor], list[Tensor]]:
        """The thin factors of every product: `(batch, units, thin, channels)` of the target and of the source."""
        columns = paths.columns(self.joint)
        assert columns is not None  # joints with nothing at one side are left out
        rows = [values for _, values in paths.rows(self.joint)]
        if self.by_outputs:
            pairs = zip(rows, self.weights, strict=True)
            return [_coupled(row, psi.movedim(0, 2).contiguous()) for row, psi in pairs], [columns] * len(rows)
        # All couplings side by side read the columns once.
        psis = torch.cat([*self.weights], 1)
        ends = [psi.shape[1] for psi in self.weights]
        return rows, [*_coupled(columns, psis.permute(2, 1, 0).contiguous()).split(ends, 2)]

    def forward(self, paths: Paths) -> list[Tensor]:
        """The products, `(batch, target units, source units, channels)` each."""
        return [outer(row, column) for row, column in zip(*self.factors(paths), strict=True)]


def _coupled(values: Tensor, psi: Tensor) -> Tensor:
    """Ends of paths `(batch, units, ends, channels)` through a coupling `(ends, others, channels)`.

    Entry by entry where either is few: inputs and outputs often are, and very many very small matrix products take
    longer than what they compute.
    """
    if psi.shape[0] == 1:
        return values * psi[0]
    if psi.shape[1] == 1 and psi.shape[0] <= FEW:
        return (values * psi[:, 0]).sum(2, keepdim=True)
    # Tables of many ends are laid out by channel.
    left, right = psi.permute(2, 1, 0).expand(len(values), -1, -1, -1), values.permute(0, 3, 2, 1)
    return (left @ right).permute(0, 3, 2, 1).contiguous()


class MixedCoupling(Coupling):
    """A joint's products mixed over channels and added up, without forming any of them.

    A product of hidden by hidden units is large, but its rank is the number of ends that it goes through. So channels
    are mixed in one of its thin factors: on whichever side the ends are fewer.

    Args:
        joint: where the products stand; beside a parameter.
        ends: number of ends of each path into the target.
        outputs: number of ends of the paths from the source.
        channels_in: feature channels of the paths.
        channels_out: feature channels of the result.
    """

    def __init__(self, joint: Joint, ends: Sequence[int], outputs: int, channels_in: int, channels_out: int) -> None:
        super().__init__(joint, ends, outputs, channels_in)
        self.mix = nn.Parameter(torch.empty(len(ends), channels_in, channels_out))

    def reset_parameters(self) -> None:
        """Draw a mix that gives the sum the variance that is meant for products."""
        super().reset_parameters()
        nn.init.normal_(self.mix, std=sqrt(COUPLED_SHARE / (self.mix.shape[0] * self.mix.shape[1])))

    def forward(self, paths: Paths, base: Tensor) -> Tensor:  # type: ignore[override]
        """The sum, added to the parameter that it stands beside."""
        rows, columns = self.factors(paths)
        if (
            self.by_outputs and self.mix.shape[:2].numel() * self.outputs > SMALL
        ):  # all products end in the same columns
            left, right = columns[0], torch.stack(rows, 2)
            mix = self.mix.unsqueeze(1).expand(-1, self.outputs, -1, -1)
            turned = not self.joint.turned
        else:
            ends = torch.tensor([row.shape[2] for row in rows], device=base.device)
            mix = self.mix.repeat_interleave(ends, 0, output_size=sum(row.shape[2] for row in rows)).unsqueeze(0)
            left, right = torch.cat(rows, 2), torch.cat(columns, 2).unsqueeze(2)
            turned = self.joint.turned
        if not turned:
            return add_mixed(base, left, right, mix)
        return add_mixed(base.transpose(1, 2), left, right, mix).transpose(1, 2)


class PathProducts(nn.Module):
    r"""The polynomial layer of MAGEP: an equivariant linear map of the weights and of their products along paths.

    The products are, with sums over all paths of the network's graph,

    - :math:`[W]^{(s,t)}`, from an input or to an output: weights multiplied along the way;
    - :math:`[Wb]^{(s,t)}`: the same with a bias at its beginning, one for each bias;
    - :math:`[WW]^{(s,t)} = [W]^{(s,0)} \Psi [W]^{(L,t)}` and :math:`[bW]^{(s,t)} = b^{(s)} \Psi [W]^{(L,t)}`: a place
      and what leads to the outputs, through a trainable coupling :math:`\Psi` of the ends.

    Each is one more parameter to `EquivariantLinear`, so all ways in which the symmetry lets products reach weights are
    there: also, where factors are signs, those that turn a product's transpose into a bias. Products beside inner
    weights are large but of low rank, and are mixed without being formed. Traces of products lie in the span of the
    rest and are left out. Products stay within a channel; each has unit variance where weights are independent with
    unit variance, so that depth does not blow them up.

    Args:
        spec: space of the input features. Kernels have no product: see `dense_spec`.
        channels_in: feature channels of the input.
        channels_out: feature channels of the output.
        spec_out: space of the output where it differs from the input's; it must have the same free axes.
        bias: whether to add a constant wherever the symmetry allows one.
        turned: whether what leads to some units may reach what leads from them, and the other way round. Signs allow
            it, since each is its own inverse; the published layer does without.

    Shapes:
        `(batch, *axes, channels_in)` to `(batch, *axes, channels_out)` per parameter.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`. Degree twice the depth at most.

    Raises:
        SpecError: a spec without inputs or outputs that wires lead from and to.
        SymmetryError: `spec_out` has other free axes than `spec`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import equivariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)))
        >>> equivariance_error(PathProducts(spec, 2, 4), spec, channels=2) < 1e-10
        True

    References:
        Tran et al., "Equivariant Polynomial Functional Networks", ICML 2025: stable polynomial terms.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        channels_in: int,
        channels_out: int,
        *,
        spec_out: NetworkSpec | None = None,
        bias: bool = True,
        turned: bool = True,
    ) -> None:
        super().__init__()
        self.spec, self.spec_out, self.wiring = spec, spec_out or spec, Wiring(spec)
        if not self.wiring.outputs:
            raise SpecError("this spec has no wires that lead from fixed inputs to fixed outputs: no path to multiply.")
        paths = Paths(self.wiring, WeightFeatures(spec, [torch.empty(0, *spec.shape(p.name), 1) for p in spec.params]))
        joints = [joint for joint in paths.joints() if paths.rows(joint) and paths.columns(joint) is not None]
        outer = [joint for joint in joints if not self._is_inner(joint)]
        products = [*paths.products()]
        sides = self.wiring.sides() | {param.name: (SOURCE if pick.back else TARGET,) for pick, param in products}
        sides |= {param.name: (TARGET, SOURCE) for joint in outer for param in _products(paths, joint)}
        allowed = partial(_on_one_side, self.spec, sides) if not turned else None
        used = self._used([param for _, param in products] + [p for j in outer for p in _products(paths, j)], allowed)
        outer = [joint for joint in outer if any(param in used for param in _products(paths, joint))]
        kept = {param.name for param in self.spec_out.params if param in spec.params}
        inner = [joint for joint in joints if self._is_inner(joint) and joint.param in kept]
        self.outer = nn.ModuleList(Coupling(j, *_ends(paths, j), channels_in) for j in outer)
        self.inner = nn.ModuleList(MixedCoupling(j, *_ends(paths, j), channels_in, channels_out) for j in inner)
        self.beside = [str(joint.param) for joint in inner]
        self.space = replace(spec, params=(*spec.params, *used))
        self.linear = BlendedLinear(
            self.space, channels_in, channels_out, spec_out=self.spec_out, bias=bias, allowed=allowed
        )
        self._prepare(paths)
        self.reset_parameters()

    def _prepare(self, paths: Paths) -> None:
        """Tell the linear part where every product comes from."""
        products: dict[str, tuple[int, int]] = {}
        thin: dict[str, int] = {}
        for number, coupling in enumerate(self._outer()):
            ends, outputs = _ends(paths, coupling.joint)
            for row, param in enumerate(_products(paths, coupling.joint)):
                products[param.name] = number, row
                thin[param.name] = outputs if coupling.by_outputs else ends[row]
        self._origin = Origin({param.name: pick for pick, param in paths.products()}, products)
        self.linear.prepare(paths, self._origin, thin)

    def _outer(self) -> Iterator[Coupling]:
        for coupling in self.outer:
            assert isinstance(coupling, Coupling)  # a list of modules does not say so
            yield coupling

    def _used(self, products: Sequence[ParamSpec], allowed: Callable[[Half, Half], bool] | None) -> list[ParamSpec]:
        """The products that some parameter of the output can take."""
        everything = replace(self.spec, params=(*self.spec.params, *products))
        terms = EquivariantLinear(everything, 1, 1, spec_out=self.spec_out, allowed=allowed).terms()
        sources = {term.source.param for term in terms}
        return [param for param in products if param.name in sources]

    def _is_inner(self, joint: Joint) -> bool:
        """Whether a joint's products stand beside a weight between hidden units."""
        axes = {self.spec.axis(self.wiring.axis(end)) for end in (joint.target, joint.source)}
        return joint.param is not None and all(axis.symmetry.permutes for axis in axes)

    def reset_parameters(self) -> None:
        """Draw all coefficients so that features keep their variance; products get a share of an inner weight's."""
        self.linear.reset_parameters()
        with torch.no_grad():
            for term in self.linear.terms():
                if term.target.param in self.beside:
                    term.coefficients.mul_(sqrt(1 - COUPLED_SHARE))
        for coupling in (*self.outer, *self.inner):
            coupling.reset_parameters()

    @property
    def linear_parameters(self) -> int:
        """Number of coefficients of the linear map of weights and products, couplings not counted."""
        mixes = [mix.numel() for name, mix in self.inner.named_parameters() if name.endswith("mix")]
        return self.linear.linear_parameters + sum(mixes)

    @property
    def constant_parameters(self) -> int:
        """Number of coefficients of constants."""
        return self.linear.constant_parameters

    @property
    def coupling_parameters(self) -> int:
        """Number of entries of the couplings between ends."""
        every = sum(parameter.numel() for parameter in self.parameters())
        return every - self.linear_parameters - self.constant_parameters

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Apply the layer. Raises `ShapeError` for features of another space or channel count."""
        x.expect(self.spec, self.linear.channels_in)
        paths = Paths(self.wiring, x)
        reading = Reading(x, paths, [coupling.factors for coupling in self._outer()], self._origin)
        out = dict(self.linear.blend(reading).items())
        for param, mixed in zip(self.beside, self.inner, strict=True):
            out[param] = mixed(paths, out[param])
        return WeightFeatures(self.spec_out, out)

    def extra_repr(self) -> str:
        """Channels and parameter counts, for `print(layer)`."""
        return f"{self.linear_parameters:,} linear and {self.coupling_parameters:,} coupling parameters"


def _ends(paths: Paths, joint: Joint) -> tuple[list[int], int]:
    """How many ends each path into a joint's target has, and how many the paths from its source have together."""
    columns = paths.columns(joint)
    return [path.ends for path, _ in paths.rows(joint)], 0 if columns is None else columns.shape[2]


def _on_one_side(spec: NetworkSpec, sides: Mapping[str, tuple[str, ...]], source: Half, target: Half) -> bool:
    """Whether a map carries no unit with a sign from where it is a wire's target to where it is a wire's source."""
    for one, other in zip(source.carried, target.carried, strict=True):
        signed = Factor.SIGN in spec.axis(one.axis).symmetry.factors
        ends = {sides[half.param][leg] for half, block in ((source, one), (target, other)) for leg in block.legs}
        if signed and {TARGET, SOURCE} <= ends:
            return False
    return True


def _products(paths: Paths, joint: Joint) -> Iterator[ParamSpec]:
    """A joint's products as parameters."""
    axes = paths.wiring.axis(joint.target), paths.wiring.axis(joint.source)
    legs = [Leg(axis, powers) for axis, powers in zip(axes, joint.powers, strict=True)]
    yield from (product_param(f"{joint.name} < {path.origin}", legs) for path, _ in paths.rows(joint))


class PathInvariants(nn.Module):
    """The invariant polynomials of MAGEP: what `PathProducts` gives where no unit is left.

    Nothing is divided, and no absolute value taken: a network's answer is a polynomial of its weights, whose degree is
    twice the depth at most.

    Parameters that lie on no path from inputs to outputs cannot be heard: those of attention, of grouped convolutions
    and of gates, and all kernels (see `dense_spec`). `unread` names them.

    Args:
        spec: space of the features, see `PathProducts`.
        channels: feature channels.
        outputs: how many numbers per network.

    Shapes:
        Features to `(batch, outputs)`.

    Symmetry:
        `layer(act(g, x)) == layer(x)`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)))
        >>> invariance_error(PathInvariants(spec, 2, 5), spec, channels=2) < 1e-10
        True

    References:
        Tran et al., "Equivariant Polynomial Functional Networks", ICML 2025: the invariant polynomial layer.
    """

    def __init__(self, spec: NetworkSpec, channels: int, outputs: int) -> None:
        super().__init__()
        self.products = PathProducts(spec, channels, outputs, spec_out=_answer_spec(spec))
        self.unread = self._unread()

    def _unread(self) -> tuple[str, ...]:
        """The parameters that do not change the answer."""
        spec, channels = self.products.spec, self.products.linear.channels_in
        with torch.enable_grad():
            ones = [torch.ones(1, *spec.shape(param.name), channels, requires_grad=True) for param in spec.params]
            found = torch.autograd.grad(self(WeightFeatures(spec, ones)).sum(), ones, allow_unused=True)
        return tuple(param.name for param, gradient in zip(spec.params, found, strict=True) if gradient is None)

    def extra_repr(self) -> str:
        """What is not read, for `print(layer)`."""
        return f"unread: {', '.join(self.unread)}" if self.unread else ""

    def forward(self, x: WeightFeatures) -> Float[Tensor, "batch outputs"]:
        """Read. Raises `ShapeError` for features of another space or channel count."""
        (answer,) = self.products(x).tensors
        return answer[:, 0]


def _answer_spec(spec: NetworkSpec) -> NetworkSpec:
    """One number on no unit, beside the free axes of a spec."""
    name = "answer"
    while any(axis.name == name for axis in spec.axes):
        name += "'"
    axes = (*spec.free_axes, Axis(name, 1, FIXED))
    return NetworkSpec(axes, (ParamSpec(name, (Leg(name),), "answer", View(name)),))
