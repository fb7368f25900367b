"""Functions of edges, block by block: what lies between input and sum is computed again for gradients, never kept."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["blockwise"]

# Numbers in one tensor of a block: few enough for the caches of a core, enough to keep a larger device busy.
CACHED, LARGE = 2**18, 2**25

Cut = tuple[slice, ...]


def blockwise(
    function: Callable[..., Tensor], modules: Iterable[nn.Module], parts: Sequence[Tensor], over: Sequence[int] = ()
) -> Tensor:
    """`function(*parts).sum(over)` and its gradients, in memory for the parts, the sum and one block.

    Both passes walk through blocks that fit into a cache. The pass back computes each block again, with the random
    numbers that it drew at first, and adds what it finds to gradients that lie ready. Second derivatives are right, but
    take as much memory as without blocks; `torch.func` and derivatives in forward mode are refused by torch. Compiled,
    it is the plain function.

    Args:
        function: computes every row, that is every index but the last, by itself.
        modules: those whose parameters it uses.
        parts: its arguments; they broadcast against each other.
        over: dimensions that are added up.

    Shapes:
        `(batch, *dims, channels)` each, with one in place of any dimension that a part does not depend on.

    Example:
        >>> layer, x, y = nn.Linear(4, 3), torch.randn(2, 1, 5, 4), torch.randn(2, 6, 5, 4)
        >>> sums = blockwise(lambda x, y: layer(x * y).tanh(), [layer], [x, y], over=[2])
        >>> torch.allclose(sums, layer(x * y).tanh().sum(2), atol=1e-5)
        True
    """
    whole = torch.broadcast_shapes(*[part.shape[:-1] for part in parts])
    if torch.compiler.is_compiling() or not prod(whole):
        return summed(function(*parts), over)
    bound = Bound(function, modules)
    largest = max(part.shape[-1] for part in parts)
    plan = Plan(bound, tuple(whole), tuple(over), len(parts), largest, surroundings(parts[0].device))
    return Blockwise.apply(plan, *parts, *bound.parameters)


def summed(values: Tensor, over: Sequence[int]) -> Tensor:
    """Added up over dimensions, of which there may be none."""
    return values.sum(tuple(over)) if over else values


class Bound:
    """A function with the modules that it uses, so that other tensors can stand in for their parameters."""

    def __init__(self, function: Callable[..., Tensor], modules: Iterable[nn.Module]) -> None:
        self.function = function
        inner = dict.fromkeys(part for module in modules for part in module.modules())
        # Every owner once, however many ways lead to it: what was swapped twice could not be put back.
        self.owned = [
            (part, name, p)
            for part in inner
            for name, p in part.named_parameters(recurse=False, remove_duplicate=False)
        ]
        self.parameters = list({id(p): p for _, _, p in self.owned}.values())

    @contextmanager
    def standing_in(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Meanwhile these are the parameters."""
        new = {id(p): tensor for p, tensor in zip(self.parameters, tensors, strict=True)}
        old = [(part, name, part._parameters[name]) for part, name, _ in self.owned]
        for part, name, p in self.owned:
            part._parameters[name] = new[id(p)]  # type: ignore[assignment]
        try:
            yield
        finally:
            for part, name, was in old:
                part._parameters[name] = was


@dataclass(frozen=True)
class Surroundings:
    """What a computation depends on besides its arguments: autocast, and the states of random numbers."""

    device: torch.device
    autocast: bool
    dtype: torch.dtype
    random: tuple[Tensor, ...]

    def mixed(self) -> AbstractContextManager[object]:
        """Autocast as it was, without its cache: casts that stand there from a pass without gradients pass none on."""
        if not torch.amp.is_autocast_available(self.device.type):
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.autocast, cache_enabled=False)

    def forked(self) -> AbstractContextManager[object]:
        """A place where random numbers can be drawn again without disturbing those outside."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def rewind(self) -> None:
        """From here on, the same random numbers once more."""
        torch.set_rng_state(self.random[0])
        for state in self.random[1:]:
            torch.cuda.set_rng_state(state, self.device)


def surroundings(device: torch.device) -> Surroundings:
    """Those of a computation that begins now."""
    states = (torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else []))
    known = torch.amp.is_autocast_available(device.type)
    on = known and torch.is_autocast_enabled(device.type)
    return Surroundings(device, on, torch.get_autocast_dtype(device.type) if known else torch.float32, states)


@dataclass(frozen=True)
class Plan:
    """One computation: what, of how many parts and which shape, added up over what, in which surroundings."""

    bound: Bound
    whole: tuple[int, ...]
    over: tuple[int, ...]
    parts: int
    channels: int
    surroundings: Surroundings

    def cuts(self) -> Iterator[Cut]:
        """Where the blocks lie, in the order of memory."""
        on_cpu = self.surroundings.device.type == "cpu"
        rows = (CACHED * torch.get_num_threads() if on_cpu else LARGE) // self.channels
        ranges = []
        for dim, size in enumerate(self.whole):
            length = max(1, min(size, rows // prod(self.whole[dim + 1 :])))
            ranges.append([slice(start, start + length) for start in range(0, size, length)])
        return product(*ranges)

    def block(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum of one block."""
        return summed(self.bound.function(*parts), self.over)

    def left(self, each: Sequence[Any]) -> tuple[Any, ...]:
        """Those of the dimensions that are not added up."""
        return tuple(one for dim, one in enumerate(each) if dim not in self.over)

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """The whole sum."""
        out: Tensor | None = None
        with self.surroundings.mixed():
            for cut in self.cuts():
                block = self.block([piece(part, cut) for part in parts])
                if out is None:
                    out = block.new_zeros(*self.left(self.whole), block.shape[-1])
                place = out[self.left(cut)]
                place.copy_(place + block if self.over else block)
        assert out is not None
        return out

    def pull(self, tensors: Sequence[Tensor], wanted: Sequence[bool], gradient: Tensor) -> list[Tensor | None]:
        """Gradients to parts and parameters, in blocks."""
        totals = [torch.zeros_like(tensor) if want else None for tensor, want in zip(tensors, wanted, strict=True)]
        parts, parameters = tensors[: self.parts], [tensor.detach() for tensor in tensors[self.parts :]]
        for parameter, want in zip(parameters, wanted[self.parts :], strict=True):
            parameter.requires_grad_(want)

        about = self.surroundings
        with torch.enable_grad(), about.forked(), about.mixed(), self.bound.standing_in(parameters):
            about.rewind()
            for cut in self.cuts():
                leaves = [piece(part, cut).detach() for part in parts]
                for leaf, want in zip(leaves, wanted, strict=False):
                    leaf.requires_grad_(want)
                places = [None if one is None else piece(one, cut) for one in totals[: self.parts]]
                step(
                    self.block(leaves),
                    [*leaves, *parameters],
                    [*places, *totals[self.parts :]],
                    gradient[self.left(cut)],
                )
        return totals


def piece(part: Tensor, cut: Cut) -> Tensor:
    """What a block sees of a part."""
    return part[tuple(slice(None) if size == 1 else where for size, where in zip(part.shape, cut, strict=False))]


def step(block: Tensor, sources: Sequence[Tensor], totals: Sequence[Tensor | None], gradient: Tensor) -> None:
    """Add the gradients of one block to the totals that are wanted."""
    pairs = [(source, total) for source, total in zip(sources, totals, strict=True) if total is not None]
    if not block.requires_grad:
        return
    found = torch.autograd.grad(block, [source for source, _ in pairs], gradient, allow_unused=True)
    for (_, total), new in zip(pairs, found, strict=True):
        if new is not None:
            total += new


class Blockwise(torch.autograd.Function):
    """The sum of a plan, which keeps nothing but its parts."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> Tensor:
        """The sum."""
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        return plan.sum(tensors[: plan.parts])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """In blocks; where it shall be differentiated itself, as a whole."""
        (gradient,) = gradients
        plan, tensors, wanted = ctx.plan, ctx.saved_tensors, ctx.needs_input_grad[1:]
        if not torch.is_grad_enabled():
            return None, *plan.pull(tensors, wanted, gradient)

        with plan.surroundings.forked(), plan.bound.standing_in(tensors[plan.parts :]):
            plan.surroundings.rewind()
            out = plan.sum(tensors[: plan.parts])
        sources = [tensor for tensor, want in zip(tensors, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(out, sources, gradient, create_graph=True, allow_unused=True))
        return None, *(next(found) if want else None for want in wanted)
