"""Functions of edges in blocks: the same answers and gradients as without, for every layout, in less memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from weightspace.layers import Gated, block
from weightspace.layers.block import Plan, Surroundings, blockwise
from weightspace.layers.edge import Unread, edges_updated, message_sums
from weightspace.layers.gated import SIGN_FORMS
from weightspace.layers.graph import Edges, Vertices
from weightspace.layers.sharing import Maps
from weightspace.spec import Factor

KINDS = [frozenset[Factor](), frozenset({Factor.SIGN}), frozenset({Factor.POSITIVE}), frozenset(Factor)]
# Shapes of senders, of edges and of receivers without batch and channels, and the dimensions of receivers.
LAYOUTS = {
    "matrix": ((1, 5), (4, 5), (4, 1), (1,)),
    "back": ((4, 1), (4, 5), (1, 5), (2,)),
    "units in two dimensions": ((1, 1, 5), (2, 3, 5), (2, 3, 1), (1, 2)),
    "grouped": ((3, 1, 5), (3, 4, 5), (3, 4, 1), (1, 2)),
    "to themselves": ((4,), (4,), (4,), (1,)),
    "to the mean": ((1, 5), (4, 5), (1, 1), ()),
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four rows of six channels."""
    monkeypatch.setattr(block, "CACHED", 24)
    torch.manual_seed(0)


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def pulled(out: Tensor, sources: list[Tensor], *, create_graph: bool = False) -> tuple[Tensor | None, ...]:
    """Gradients of a function that no symmetry makes easy."""
    return torch.autograd.grad((out * out.sin()).sum(), sources, create_graph=create_graph, allow_unused=True)


def close(one: tuple[Tensor | None, ...], other: tuple[Tensor | None, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if a is None else a,
            torch.zeros(()) if b is None else b,
            rtol=1e-10,
            atol=1e-12,
            check_dtype=False,
        )


@pytest.mark.parametrize("numbers", [1, 24, 10**6])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("receiver", "factors"), [(False, KINDS[0]), (False, KINDS[1]), (True, KINDS[2])])
def test_messages_in_blocks_and_without(
    factors: frozenset[Factor], receiver: bool, layout: str, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row by itself, few rows, and all in one block."""
    monkeypatch.setattr(block, "CACHED", numbers)
    senders, edges, receivers, to = LAYOUTS[layout]
    gate = Gated([6] * (1 + receiver), 7, factors).double()
    mix = nn.Linear(6, 6, bias=False).double()
    parts = [rows(2, *senders, 6), rows(2, *edges, 6), rows(2, *receivers, 6) if receiver else None]
    sums = [message_sums(gate, mix, *parts, to, lean=lean) for lean in (False, True)]
    torch.testing.assert_close(*sums, rtol=1e-10, atol=1e-12)
    sources = [part for part in (*parts, *gate.parameters(), *mix.parameters()) if part is not None]
    close(*(pulled(each, sources) for each in sums))


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("receiver", [False, True])
@pytest.mark.parametrize("form", SIGN_FORMS)
@pytest.mark.parametrize("factors", KINDS)
def test_unread_edges_are_what_they_are_read_to(
    factors: frozenset[Factor], form: str, receiver: bool, width: int, lean: bool
) -> None:
    senders, edges, receivers, to = LAYOUTS["grouped"]
    gate, mix = Gated([6] * (1 + receiver), 7, factors, form).double(), nn.Linear(6, 6, bias=False).double()
    units = Vertices("units", (1,), factors, fixed=False, label="0", depth=None)
    dims = {"target_dims": (1,), "source_dims": (2,), "straight": True, "ndim": len(edges) + 2}
    wire = Edges(units, units, "weight", **dims, width=width, factors=factors, label="0")
    read, answer = Maps([wire], 6, shift=True).double(), nn.Linear(6, 6).double()
    sent, values, x = rows(2, *senders, 6), rows(2, *edges, width), rows(2, *receivers, 6) if receiver else None
    with torch.no_grad():
        values[0, 0], sent[1, :, :, 2] = 0, 0
    found = [
        (
            message_sums(gate, mix, sent, edge(), x, to, lean=lean),
            edges_updated(mix, answer, edge(), [sent, sent.sin()], gated=bool(factors), lean=lean),
        )
        for edge in (lambda: read(wire, values), lambda: Unread(values, read, wire))
    ]
    sources = [values, sent, *(p for module in (gate, mix, read, answer) for p in module.parameters())]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        close(pulled(one, sources), pulled(other, sources))


def twice(module: nn.Module) -> Callable[..., Tensor]:
    return lambda x, y: module(x * y).tanh() * x


@pytest.mark.parametrize("over", [(), (1,), (2,), (1, 2)])
def test_second_derivatives(over: tuple[int, ...]) -> None:
    layer, x, y = nn.Linear(3, 3).double(), rows(2, 1, 4, 3), rows(2, 3, 4, 3)
    plain, fast = twice(layer)(x, y), blockwise(twice(layer), [layer], [x, y], over)
    plain = plain.sum(over) if over else plain
    sources = [x, y, *layer.parameters()]
    firsts = [pulled(out, sources, create_graph=True) for out in (plain, fast)]
    close(*firsts)
    close(*(pulled(sum(g.sin().sum() for g in first), sources) for first in firsts))


@pytest.mark.parametrize("frozen", ["x", "y", "parameters", "all"])
def test_what_needs_no_gradient_gets_none(frozen: str) -> None:
    layer, x, y = nn.Linear(3, 3).double(), rows(2, 1, 4, 3), rows(2, 3, 4, 3)
    x.requires_grad_(frozen not in ("x", "all"))
    y.requires_grad_(frozen not in ("y", "all"))
    layer.requires_grad_(frozen not in ("parameters", "all"))
    out, plain = blockwise(twice(layer), [layer], [x, y], [1]), twice(layer)(x, y).sum(1)
    torch.testing.assert_close(out, plain)
    assert out.requires_grad == (frozen != "all")
    if frozen != "all":
        sources = [s for s in (x, y, *layer.parameters()) if s.requires_grad]
        close(pulled(out, sources), pulled(plain, sources))


def test_without_gradients_nothing_is_kept() -> None:
    layer, x, y = nn.Linear(3, 3).double(), rows(2, 1, 4, 3), rows(2, 3, 4, 3)
    with torch.no_grad():
        out = blockwise(twice(layer), [layer], [x, y], [1])
    assert not out.requires_grad
    torch.testing.assert_close(out, twice(layer)(x, y).sum(1))


def test_a_module_named_twice_keeps_its_parameters() -> None:
    """Through itself, through what it stands in, and as the function."""
    layer = nn.Linear(3, 3).double()
    whole, before, x = nn.Sequential(layer, nn.Tanh(), layer), [*layer.parameters()], rows(2, 5, 3)
    close(
        pulled(blockwise(whole, [whole, layer, layer], [x]), [x, *layer.parameters()]),
        pulled(whole(x), [x, *layer.parameters()]),
    )
    assert all(one is other for one, other in zip(layer.parameters(), before, strict=True))


def test_parameters_that_only_stand_in_are_those_of_the_pass_back() -> None:
    layer, x = nn.Linear(3, 3).double(), rows(2, 5, 3)
    other = {name: rows(*p.shape) for name, p in layer.named_parameters()}

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return blockwise(lambda x: self.layer(x).tanh(), [self.layer], [x])

    out = torch.func.functional_call(Model(), {f"layer.{name}": p for name, p in other.items()}, (x,))
    plain = (x @ other["weight"].T + other["bias"]).tanh()
    close(pulled(out, [x, *other.values()]), pulled(plain, [x, *other.values()]))


def dropped() -> float:
    """How far gradients are from those of the numbers that were drawn: a linear map is its gradient times its input."""
    drop, x = nn.Dropout(0.5), rows(3, 40, 4)
    out = blockwise(lambda x: drop(x), [drop], [x], [1])
    torch.rand(7)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    return (out.sum() - (gradient * x).sum()).abs().item()


def test_random_numbers_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dropped() < 1e-10
    state = torch.get_rng_state()
    x = rows(2, 3)
    out = blockwise(nn.Dropout(0.5), [], [x])
    torch.set_rng_state(state)
    out.sum().backward()
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(Surroundings, "rewind", lambda self: None)
    assert dropped() > 1e-3


@pytest.mark.parametrize("inside", [False, True])
def test_autocast_is_that_of_the_pass_forward(inside: bool) -> None:
    """Also if the pass back runs elsewhere, and after casts without gradients were cached."""
    layer, x = nn.Linear(8, 8), torch.randn(4, 6, 8, requires_grad=True)
    seen: list[torch.dtype] = []

    def noted(x: Tensor) -> Tensor:
        seen.append(layer(x).dtype)
        return layer(x).tanh()

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
        with torch.no_grad():
            blockwise(noted, [layer], [x], [1])
        out = blockwise(noted, [layer], [x], [1])
        plain = layer(x).tanh().sum(1)
    sources = [x, *layer.parameters()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not inside):
        ours = torch.autograd.grad(out.float().sum(), sources)
    theirs = torch.autograd.grad(plain.float().sum(), sources)
    assert set(seen) == {torch.bfloat16 if inside else torch.float32}
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2 * other.abs().max().item())


def kept(function: Callable[[], Tensor]) -> int:
    """How many numbers a pass forward keeps."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        function()
    return sum(sizes.values())


def test_parts_alone_are_kept() -> None:
    gate, mix = Gated([4], 4, {Factor.SIGN}), nn.Linear(4, 4, bias=False)
    sent, edge = torch.randn(3, 1, 9, 4), torch.randn(3, 8, 9, 4, requires_grad=True)
    numbers = [
        kept(lambda lean=lean: message_sums(gate, mix, sent, edge, None, [1], lean=lean)) for lean in (False, True)
    ]
    parameters = sum(p.numel() for module in (gate, mix) for p in module.parameters())
    assert numbers[1] <= sent.numel() + edge.numel() + parameters < numbers[0] / 5


def test_nothing_to_do() -> None:
    layer, x = nn.Linear(3, 2).double(), rows(0, 5, 3)
    assert blockwise(layer, [layer], [x], [1]).shape == (0, 2)


@pytest.mark.parametrize("over", [(), (1,)])
def test_blocks_that_are_left_out_are_caught(over: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, y = nn.Linear(3, 3).double(), rows(2, 1, 9, 3), rows(2, 3, 9, 3)
    plain = twice(layer)(x, y).sum(over) if over else twice(layer)(x, y)
    out = blockwise(twice(layer), [layer], [x, y], over)
    cuts = Plan.cuts
    monkeypatch.setattr(Plan, "cuts", lambda self: [*cuts(self)][:-1])
    for right, wrong in zip(pulled(plain, [x, y, layer.weight]), pulled(out, [x, y, layer.weight]), strict=True):
        assert not torch.allclose(right, wrong)
    assert not torch.allclose(plain, blockwise(twice(layer), [layer], [x, y], over))
