"""The equivariant linear maps from scratch: by the null space of the commutator, and term by term."""

import torch
from torch import Tensor

from weightspace.layers import EquivariantLinear
from weightspace.spec import NetworkSpec
from weightspace.weights import Element, WeightFeatures, act, flatten, sample_element, unflatten


def representation(spec: NetworkSpec, g: Element) -> Tensor:
    """The matrix by which one group element acts on flattened networks. Shape `(numel, numel)`."""
    basis = unflatten(spec, torch.eye(spec.numel, dtype=torch.float64))
    return flatten(act(g, basis)).T.contiguous()


def equivariant_dimension(spec: NetworkSpec, spec_out: NetworkSpec | None = None, elements: int = 12) -> int:
    """Dimension of the space of matrices `M` with `R_out(g) M = M R_in(g)` for random `g`."""
    spec_out = spec_out or spec
    generator = torch.Generator().manual_seed(0)
    one_in, one_out = (torch.eye(space.numel, dtype=torch.float64) for space in (spec, spec_out))
    normal = torch.zeros(spec.numel * spec_out.numel, spec.numel * spec_out.numel, dtype=torch.float64)
    for _ in range(elements):
        g = sample_element(spec, 1, generator=generator, log_scale=0.3)
        r, t = representation(spec, g), representation(spec_out, g)
        # The square of the commutator `t (x) 1 - 1 (x) r.T`, multiplied out: its own product would take far longer.
        normal += torch.kron(t.T @ t, one_in) + torch.kron(one_out, r @ r.T)
        normal -= torch.kron(t.T.contiguous(), r.T.contiguous()) + torch.kron(t, r)
    return _nullity(normal)


def _nullity(normal: Tensor) -> int:
    values = torch.linalg.eigvalsh(normal)
    return int((values <= 1e-9 * values[-1].clamp_min(1.0)).sum())


def constant_dimension(spec: NetworkSpec, elements: int = 12) -> int:
    """Dimension of the space of networks that no group element changes."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.zeros(spec.numel, spec.numel, dtype=torch.float64)
    for _ in range(elements):
        moved = representation(spec, sample_element(spec, 1, generator=generator, log_scale=0.3))
        normal += (moved - torch.eye(spec.numel, dtype=torch.float64)).T @ (moved - torch.eye(spec.numel))
    return _nullity(normal)


def linear_by_terms(layer: EquivariantLinear, x: WeightFeatures) -> WeightFeatures:
    """The layer with one einsum per term and every index written out: diagonals as explicit deltas."""
    out = {}
    for param in layer.spec_out.params:
        shape = (len(x), *layer.spec_out.shape(param.name), layer.channels_out)
        out[param.name] = torch.zeros(shape, dtype=x.dtype)
    for term in layer.terms():
        out[term.target.param] += _term(layer, term, x)
    for half, constant in zip(layer.spreads, layer.constants, strict=True):
        out[half.param] += _spread_constant(layer, half, constant)
    return WeightFeatures(layer.spec_out, out)


def _term(layer: EquivariantLinear, term, x: WeightFeatures) -> Tensor:
    """One diagram as one einsum: a letter per leg, a delta per pair of legs that share a block."""
    source, target = term.source, term.target
    source_shape, target_shape = layer.spec.shape(source.param), layer.spec_out.shape(target.param)
    s = {leg: chr(ord("d") + leg) for leg in range(len(source_shape))}
    t = {leg: chr(ord("A") + leg) for leg in range(len(target_shape))}
    formula, tensors = [f"a{''.join(s.values())}c"], [x[source.param]]
    joined = [(a.legs, b.legs) for a, b in zip(source.carried, target.carried, strict=True)]
    pairs = [(s[a[0]], t[b[0]], source_shape[a[0]]) for a, b in joined]
    for block in (*source.carried, *source.closed):
        pairs += [(s[block.legs[0]], s[leg], source_shape[leg]) for leg in block.legs[1:]]
    for block in (*target.carried, *target.closed):
        pairs += [(t[block.legs[0]], t[leg], target_shape[leg]) for leg in block.legs[1:]]
    for first, second, size in pairs:
        formula.append(first + second)
        tensors.append(torch.eye(size, dtype=x.dtype))
    for leg in (block.legs[0] for block in target.closed):
        formula.append(t[leg])
        tensors.append(torch.ones(target_shape[leg], dtype=x.dtype))
    fixed = "".join(t[leg] for leg in target.fixed) + "z" + "".join(s[leg] for leg in source.fixed) + "c"
    sizes = [target_shape[leg] for leg in target.fixed], [source_shape[leg] for leg in source.fixed]
    formula.append(fixed)
    tensors.append(term.coefficients.reshape(*sizes[0], layer.channels_out, *sizes[1], layer.channels_in))
    summed = torch.einsum(f"{','.join(formula)}->a{''.join(t.values())}z", *tensors)
    return summed / source.closed_size(layer.spec)


def _spread_constant(layer: EquivariantLinear, half, constant: Tensor) -> Tensor:
    shape = layer.spec_out.shape(half.param)
    letters = {leg: chr(ord("A") + leg) for leg in range(len(shape))}
    formula = ["".join(letters[leg] for leg in half.fixed) + "z"]
    tensors = [constant.reshape(*(shape[leg] for leg in half.fixed), layer.channels_out)]
    for block in half.closed:
        for leg in block.legs:
            formula.append(letters[block.legs[0]] + letters[leg] if leg != block.legs[0] else letters[leg])
            size = shape[leg]
            one = torch.ones(size) if leg == block.legs[0] else torch.eye(size)
            tensors.append(one.to(constant))
    return torch.einsum(f"{','.join(formula)}->{''.join(letters.values())}z", *tensors)[None]
