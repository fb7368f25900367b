"""Checking a spec on the network it describes: is all of it true, and was something missed?"""

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.utils import _pytree as pytree

from weightspace.errors import SpecError
from weightspace.spec.element import Element, sample_element
from weightspace.spec.network import FIXED, PERMUTATION, Axis, Factor, NetworkSpec, Note
from weightspace.spec.precision import double_precision, scaled
from weightspace.spec.trace import arguments_of

__all__ = ["Certificate", "certify", "remember", "verified"]

# Rounding in float64, amplified by the conditioning of deep networks; what is wrong changes outputs by more than 1e-3.
TOLERANCE = 1e-7
DECADES = (-3, 0, 3)
DRAWS = 20
LARGEST = 4000  # parameters up to which the Jacobian's rank is worth its time and memory


@dataclass(frozen=True)
class Certificate:
    """What was found on the network itself.

    Args:
        function_error: the largest relative change of the outputs under random group elements, in float64.
        parameters: number of parameters that the spec covers.
        orbit: dimension of the network's orbit under the positive factors.
        rank: rank of the Jacobian of the outputs in the parameters; `None` where it was not computed.
        why: why it was not.
    """

    function_error: float
    parameters: int
    orbit: int
    rank: int | None
    why: str = ""

    @property
    def missed(self) -> int | None:
        """Directions that change no output and belong to no factor; 0 proves that no continuous symmetry is missing."""
        return None if self.rank is None else self.parameters - self.orbit - self.rank

    def __str__(self) -> str:
        lines = [f"function error {self.function_error:.1e} (float64, random elements of the group)"]
        if self.rank is None:
            lines.append(f"rank of the Jacobian not computed: {self.why}")
        else:
            lines.append(
                f"rank of the Jacobian {self.rank}: {self.parameters} parameters, {self.orbit} along the orbit"
            )
            lines.append(
                "no continuous symmetry is missing"
                if not self.missed
                else f"{self.missed} more directions leave the outputs as they are: invertible matrices between linear "
                "maps, units that never switch on these inputs, or a symmetry that was missed"
            )
        return "\n".join(lines)


def remember(spec: NetworkSpec, module: nn.Module, inputs: Any) -> NetworkSpec:
    """Let the spec know the module it was read from, for `report(verify=True)`, without keeping it alive."""
    object.__setattr__(spec, "_origin", (weakref.ref(module), inputs))
    return spec


def certify(spec: NetworkSpec) -> Certificate:
    """The certificate of a spec, on the module that it was read from.

    Raises:
        SpecError: the spec was not read from a module in this process, the module is gone, or it does not run as a
            copy in float64.

    Example:
        >>> from weightspace.spec import spec_of
        >>> module = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> certificate = certify(spec_of(module))
        >>> certificate.rank, certificate.orbit, certificate.missed
        (35, 9, 0)
    """
    reference, inputs = getattr(spec, "_origin", (lambda: None, None))
    module = reference()
    if module is None:
        raise SpecError(
            "this spec does not know the module it describes (it was loaded, written by hand, or the module is gone); "
            "read it again with spec_of(module, example_inputs) and keep the module."
        )
    try:
        error = _error(spec, _prepared(spec, module), inputs)
    except Exception as reason:  # the module's own, as in `verified`
        raise SpecError(
            f"{type(module).__name__} cannot be checked, for it does not run as a copy in float64: {reason}. "
            "Use report() without verify=True, or check a copy of the module that does."
        ) from reason
    why = _unranked(spec)
    if why:
        return Certificate(error, spec.numel, _orbit_dimension(spec, _prepared(spec, module)), None, why)
    # Where units do not switch, the rank is smaller than the architecture allows: the best of several draws counts.
    draws = []
    for seed in range(DRAWS):
        twin = _redrawn(spec, module, seed)
        try:
            rank = _rank(spec, twin, inputs, seed)
        except (RuntimeError, NotImplementedError) as reason:
            return Certificate(
                error, spec.numel, _orbit_dimension(spec, twin), None, f"torch does not give it ({reason})"
            )
        draws.append(Certificate(error, spec.numel, _orbit_dimension(spec, twin), rank))
        if draws[-1].missed == 0:
            break
    return min(draws, key=lambda found: found.missed or 0)


def _unranked(spec: NetworkSpec) -> str:
    """Why the rank of the Jacobian would say nothing or cost too much; empty where it is worth computing."""
    if spec.numel > LARGEST:
        return f"the network has {spec.numel:,} parameters, and its time grows with their cube above {LARGEST:,}"
    if any(param.role in ("mean", "variance") for param in spec.params):
        return "what changes in stored statistics (of a BatchNorm), other parameters make up for"
    return ""


def verified(spec: NetworkSpec, module: nn.Module, inputs: Any, *, strict: bool) -> NetworkSpec:
    """The spec, with what its own network refutes taken back.

    Raises:
        SpecError: with `strict`, where something is refuted.
    """
    if not spec.free_axes or any(p.is_meta for p in module.parameters()):
        return spec
    try:
        twin = _prepared(spec, module)
        if _error(spec, twin, inputs) <= TOLERANCE:
            return spec
    except Exception as error:  # the module's own: not every module can be copied, or runs in float64
        reason = f"not checked on the network itself: it does not run as a copy in float64 ({error})"
        return replace(spec, notes=(*spec.notes, Note("the network", reason)))
    for axis in spec.free_axes:
        for symmetry in (axis.symmetry, PERMUTATION, FIXED):
            held = spec if symmetry == axis.symmetry else _weakened(spec, axis.name, fixed=symmetry == FIXED)
            if symmetry == FIXED or _error(held, twin, inputs, only=axis.name) <= TOLERANCE:
                break
        if held is not spec:
            reason = f"taken back to {symmetry!r}: on the network itself the function changed"
            if strict:
                raise SpecError(f"axis {axis.name!r} {reason}; this is a defect of spec_of, please report the module.")
            spec = replace(held, notes=(*held.notes, Note(f"axis {axis.name}", reason)))
    return spec


def _weakened(spec: NetworkSpec, name: str, *, fixed: bool) -> NetworkSpec:
    """The spec with fewer symmetries of one axis; what nests in a fixed axis is fixed too."""
    if not fixed:
        return spec.with_symmetry(PERMUTATION, axes=(name,))
    inside = {name}
    for axis in spec.axes:
        if axis.within in inside:
            inside.add(axis.name)
    return spec.with_symmetry(FIXED, axes=tuple(inside))


def _prepared(spec: NetworkSpec, module: nn.Module) -> nn.Module:
    """A copy in float64 whose parameters are in general position: zeros and ones would hide errors."""
    twin = copy.deepcopy(module).double()
    if not isinstance(twin, torch.fx.GraphModule):
        twin = twin.eval()
    generator = torch.Generator().manual_seed(0)
    variances = {param.view.key for param in spec.params if param.role == "variance"}
    state = twin.state_dict()
    for key in dict.fromkeys(param.view.key for param in spec.params):
        tensor = state[key]
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
        tensor.mul_(1 + 0.2 * noise.abs()) if key in variances else tensor.mul_(1 + 0.2 * noise).add_(0.05 * noise)
    return twin


def _redrawn(spec: NetworkSpec, module: nn.Module, seed: int) -> nn.Module:
    """A copy in float64 with all parameters drawn anew, of the size that they had or of a half."""
    twin = copy.deepcopy(module).double()
    generator = torch.Generator().manual_seed(seed)
    variances = {param.view.key for param in spec.params if param.role == "variance"}
    state = twin.state_dict()
    for key in dict.fromkeys(param.view.key for param in spec.params):
        noise = torch.randn(state[key].shape, generator=generator, dtype=torch.float64).to(state[key].device)
        size = max(state[key].square().mean().sqrt().item(), 0.5)
        state[key].copy_(noise.abs() + 0.5 if key in variances else size * noise)
    return twin if isinstance(twin, torch.fx.GraphModule) else twin.eval()


def _error(spec: NetworkSpec, module: nn.Module, inputs: Any, *, only: str | None = None) -> float:
    """The largest relative change of any output, over inputs of several decades."""
    g = sample_element(spec, 1, generator=torch.Generator().manual_seed(1), log_scale=1.0)
    if only is not None:
        g = _alone(g, spec, only)
    state = _untied(module)
    moved = _moved(spec, g, state)
    errors = []
    for decade in DECADES:
        given = scaled(inputs, 10.0**decade)
        errors.append(_change(_outputs(module, state, given), _outputs(module, moved, given)))
    return max(errors)


def _alone(g: Element, spec: NetworkSpec, name: str) -> Element:
    """The element that moves one axis as this one does, and no other."""
    still = sample_element(spec, 1, log_scale=0.0, permute=False)
    for part in still.parts.values():
        part.scale.fill_(1.0)
    return Element(g.axes, {**still.parts, name: g.parts[name]})


def _untied(module: nn.Module) -> dict[str, Tensor]:
    """The module's state with every tensor once, under its first name: tied ones are set together."""
    first: dict[tuple[int, torch.Size], str] = {}
    state = dict(module.state_dict())
    return {k: x for k, x in state.items() if not x.numel() or first.setdefault((x.data_ptr(), x.shape), k) == k}


def _moved(spec: NetworkSpec, g: Element, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its blocks moved by a group element."""
    out = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    for param in spec.params:
        block = param.view.of(out[param.view.key][None], spec.shape(param.name))
        block.copy_(g.move_block(param, block.clone()[..., None])[..., 0])
    return out


def _outputs(module: nn.Module, state: dict[str, Tensor], inputs: Any) -> list[Tensor]:
    positional, keywords = arguments_of(inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), double_precision():
        torch.manual_seed(0)
        found = functional_call(module, state, positional, keywords)
    return [x for x in pytree.tree_leaves(found) if isinstance(x, Tensor) and x.is_floating_point()]


def _change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        finite = torch.isfinite(a)
        if not bool(finite.any()):
            continue
        size, change = a[finite].abs().max().item(), (a - b)[finite].abs().max().item()
        worst = max(worst, change / size if size else change, 0.0 if change == change else float("inf"))
    return worst


def _orbit_dimension(spec: NetworkSpec, module: nn.Module) -> int:
    """Rank of the infinitesimal action of the positive factors at the network's weights."""
    state = module.state_dict()
    blocks = [p.view.of(state[p.view.key][None], spec.shape(p.name))[0] for p in spec.params]
    directions = []
    for axis in spec.free_axes:
        for number, factor in enumerate(axis.symmetry.factors):
            if factor is Factor.POSITIVE:
                directions += _directions(spec, axis, number, blocks)
    if not directions:
        return 0
    rows = torch.stack(directions)
    return int(torch.linalg.matrix_rank(rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-300)))


def _directions(spec: NetworkSpec, axis: Axis, number: int, blocks: Sequence[Tensor]) -> list[Tensor]:
    """How the weights move along one factor of an axis: one direction per unit, nested units one by one."""
    chain = [axis]
    while chain[0].within is not None and spec.axis(chain[0].within).symmetry.permutes:
        chain.insert(0, spec.axis(chain[0].within))
    sizes = [one.size for one in chain]
    count = torch.Size(sizes).numel()
    rows = torch.zeros(count, spec.numel, dtype=torch.float64)
    start = 0
    for param, block in zip(spec.params, blocks, strict=True):
        names = [leg.axis for leg in param.legs]
        for position, leg in enumerate(param.legs):
            if leg.axis == axis.name and leg.powers[number]:
                dims = [max(i for i in range(position + 1) if names[i] == one.name) for one in chain]
                index = _unit_index(block.shape, dims, sizes)
                entries = (leg.powers[number] * block).reshape(-1).double()
                rows[index, start + torch.arange(block.numel())] += entries
        start += block.numel()
    return [row for row in rows if bool(row.any())]


def _unit_index(shape: torch.Size, dims: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """For every entry of a block, which unit it belongs to."""
    grids = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    index = torch.zeros(shape, dtype=torch.long)
    for dim, size in zip(dims, sizes, strict=True):
        index = index * size + grids[dim]
    return index.reshape(-1)


def _rank(spec: NetworkSpec, module: nn.Module, inputs: Any, seed: int) -> int:
    """Rank of the Jacobian of the outputs in the parameters, over enough random inputs like the examples."""
    state = {key: tensor.detach() for key, tensor in _untied(module).items()}
    keys = [key for key in dict.fromkeys(p.view.key for p in spec.params)]
    chosen = {key: state[key] for key in keys}
    generator = torch.Generator().manual_seed(seed)

    def drawn(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        return torch.randn(x.shape, generator=generator, dtype=torch.float64) * 2.0

    rows: list[Tensor] = []
    found, needed = 0, 4 * spec.numel
    for _ in range(4 * spec.numel):
        positional, keywords = arguments_of(pytree.tree_map(drawn, inputs))

        def outputs(own: dict[str, Tensor], positional: Any = positional, keywords: Any = keywords) -> Tensor:
            given = functional_call(module, {**state, **own}, positional, keywords)
            kept = [x for x in pytree.tree_leaves(given) if isinstance(x, Tensor) and x.is_floating_point()]
            return torch.cat([x.reshape(-1) for x in kept])

        parts = jacrev(outputs)(chosen)
        rows.append(torch.cat([parts[key].reshape(parts[key].shape[0], -1) for key in keys], dim=1))
        found += len(rows[-1])
        if found >= needed:
            break
    jacobian = torch.cat(rows)
    scale = jacobian.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return int(torch.linalg.matrix_rank(jacobian / scale, rtol=1e-9))
