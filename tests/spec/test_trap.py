"""Computations that look as if their units could move: nothing may be claimed that is not there."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tests.spec.rows import MAP, Net, S, X, chain, drawn, free, two, weight
from torch import nn
from torch.nn import functional as F

from weightspace.errors import SpecError
from weightspace.spec import spec_of
from weightspace.testing import function_error

Linear = nn.Linear


@torch.library.custom_op("weightspace_tests::ramp", mutates_args=())
def ramp(x: torch.Tensor) -> torch.Tensor:
    return x * torch.arange(x.shape[-1], dtype=x.dtype)


@ramp.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def branch(m: Net, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x)
    return m.b(h.relu() if h.sum() > 0 else h.tanh())


def picked(h: torch.Tensor) -> torch.Tensor:
    return h * h[:, 1:2]


# Nothing may move, and the notes say why.
STILL: Mapping[str, tuple[nn.Module, Any, str]] = {
    "x + x.sum(1)": (
        Net(lambda m, x: m.b((lambda h: h + h.sum(1))(m.a(x))), a=Linear(3, 5), b=Linear(5, 2)),
        X,
        "paired with the examples",
    ),
    "one unit by index": (two(lambda m, x: m.b(picked(m.a(x)))), X, "one unit is picked by its index"),
    "one unit selected": (two(lambda m, x: m.b(m.a(x)) * m.a(x)[:, 1][:, None]), X, "one unit is picked by its index"),
    "a list of indices": (two(lambda m, x: m.b(m.a(x)[:, [1, 0, 3, 2]])), X, "picked by their index"),
    "in steps": (Net(lambda m, x: m.b(m.a(x)[:, ::2]), a=Linear(3, 4), b=Linear(2, 2)), X, "in steps"),
    "sort": (two(lambda m, x: m.b(m.a(x).sort(1)[0])), X, "the order of the units matters"),
    "topk": (two(lambda m, x: m.b(m.a(x).topk(4, 1)[0])), X, "the order of the units matters"),
    "cumsum": (two(lambda m, x: m.b(m.a(x).cumsum(1))), X, "the order of the units matters"),
    "argmax": (two(lambda m, x: m.b(m.a(x)) * m.a(x).argmax(1)[:, None]), X, "the order of the units matters"),
    "where the largest is": (two(lambda m, x: m.b(m.a(x)) * m.a(x).max(1)[1][:, None]), X, "position of the largest"),
    "argmax of all": (
        Net(lambda m, x: m.a(x) + m.a(x).argmax().float(), a=nn.Conv1d(2, 3, 1)),
        drawn(2, 2, 5),
        "order of all entries",
    ),
    "flip": (two(lambda m, x: m.b(m.a(x).flip(1))), X, "change their order"),
    "roll": (two(lambda m, x: m.b(m.a(x).roll(1, 1))), X, "change their order"),
    "pooled over units": (two(lambda m, x: m.b(F.avg_pool1d(m.a(x), 3, 1, 1))), X, "positions of a map"),
    "a buffer per unit": (two(lambda m, x: m.b(m.a(x) * m.mask), mask=drawn(4)), X, "positions that are no units"),
    "a diagonal": (
        Net(
            lambda m, x: m.b((m.a(x)[:, :, None] * m.c(x)[:, None]).diagonal(dim1=1, dim2=2)),
            a=Linear(3, 4),
            c=Linear(3, 4),
            b=Linear(4, 2),
        ),
        X,
        "diagonal",
    ),
    "an identity matrix": (
        two(lambda m, x: m.b((m.a(x)[:, :, None] * torch.eye(4)).sum(1))),
        X,
        "positions that are no units",
    ),
    "an inverse": (two(lambda m, x: m.b((m.a(x) @ torch.linalg.inv(m.w)).relu()), w=weight(4, 4)), X, "linalg_inv"),
    "unknown operation": (two(lambda m, x: m.b(ramp(m.a(x)))), X, "ramp"),
    "data-dependent branch": (two(branch), X, "torch.export cannot read it"),
    "data-dependent shape": (two(lambda m, x: m.b(m.a(x)[x[:, 0] > 0])), X, "depends on the data|cannot read it"),
    "a branch of the graph": (
        two(lambda m, x: m.b(torch.cond(x.sum() > 0, lambda h: h.relu(), lambda h: h * h, (m.a(x),)))),
        X,
        "cond",
    ),
    "a stretch written over": (
        two(lambda m, x: m.b(F.relu(torch.slice_scatter(m.a(x), x[:, :1], 1, 0, 1)))),
        X,
        "written over",
    ),
    "an index per unit": (
        Net(lambda m, x: m.table[m.a(x).argmax(1)], a=Linear(3, 6), table=drawn(4)),
        S,
        "used as indices",
    ),
    "fourier transform": (two(lambda m, x: m.b(torch.fft.fft(m.a(x)).real)), X, "fft"),
}
NOT_UNDERSTOOD = [
    "a diagonal",
    "an inverse",
    "unknown operation",
    "data-dependent branch",
    "data-dependent shape",
    "a branch of the graph",
    "fourier transform",
]

# Less than it may seem, with exactly the symmetries that are left.
LESS: Mapping[str, tuple[nn.Module, Any, str]] = {
    "relu6": (two(lambda m, x: m.b(F.relu6(m.a(x)))), X, "a:4 PERMUTATION"),
    "clamp": (two(lambda m, x: m.b(m.a(x).clamp(-1, 1))), X, "a:4 SIGN"),
    "clamp on one side": (two(lambda m, x: m.b(m.a(x).clamp(max=1))), X, "a:4 PERMUTATION"),
    "gelu": (two(lambda m, x: m.b(F.gelu(m.a(x)))), X, "a:4 PERMUTATION"),
    "to whole numbers": (two(lambda m, x: m.b(m.a(x).relu().to(torch.int64).float())), X, "a:4 PERMUTATION"),
    "to truth values": (two(lambda m, x: m.b(m.a(x).bool().float())), X, "a:4 PERMUTATION"),
    "norm of order two": (
        Net(lambda m, x: m.b(torch.norm(m.a(x), 2, dim=1)), a=Linear(3, 4), b=Linear(4, 2)),
        S,
        "a:4 NONZERO",
    ),
    "mask of the units": (two(lambda m, x: m.b(m.a(x) * (m.a(x) > 0.3))), X, "a:4 PERMUTATION"),
    "a scalar added": (two(lambda m, x: m.b(m.a(x) + m.g), g=weight()), X, "a:4 PERMUTATION"),
    "a scalar times one stream": (
        two(lambda m, x: m.b(m.a(x).relu() + m.g * m.c(x)), c=Linear(3, 4), g=weight()),
        X,
        "a:4 POSITIVE",
    ),
    "weights in the output": (two(lambda m, x: (m.b(m.a(x).relu()), m.a.weight.sum(1))), X, ""),
    "the norm of the weights": (two(lambda m, x: m.b(m.a(x)) / m.a.weight.norm()), X, "a:4 PERMUTATION"),
    "cosine of the zeros": (two(lambda m, x: m.b(m.a(x).tanh() + torch.zeros(4).cos())), X, "a:4 PERMUTATION"),
    "a mask of zeros": (two(lambda m, x: m.b(F.gelu(m.a(x)) * (torch.zeros(4) == 0))), X, "a:4 PERMUTATION"),
    "softmax of zeros": (two(lambda m, x: m.b(m.a(x) + torch.zeros(4).softmax(0))), X, "a:4 PERMUTATION"),
    "prelu of slope zero": (two(lambda m, x: m.b(F.prelu(m.a(x), torch.zeros(4)))), X, "a:4 POSITIVE"),
    "norm of padding": (
        two(lambda m, x: m.b(m.c(x) * F.layer_norm(F.pad(m.a(x), (2, 2)), (8,))), b=Linear(8, 2), c=Linear(3, 8)),
        X,
        "c:2:4 NONZERO, c:2 NONZERO, c:3:2 NONZERO",
    ),
    "softmax over the outer units": (
        Net(lambda m, x: m.b(m.a(x).view(5, 4, 2).softmax(1).flatten(1)), a=Linear(3, 8), b=Linear(8, 2)),
        X,
        "a:4 PERMUTATION, a:2:2 PERMUTATION",
    ),
    "attention over units": (
        Net(
            lambda m, x: m.b(
                (lambda h: F.scaled_dot_product_attention(h, h, m.c(x).view(5, 4, 2)).flatten(1))(m.a(x).view(5, 4, 2))
            ),
            a=Linear(3, 8),
            c=Linear(3, 8),
            b=Linear(8, 2),
        ),
        X,
        "a:4 PERMUTATION, a:2:2 SIGN, c:2 NONZERO",
    ),
    "nested in each other": (
        two(lambda m, x: m.b((m.a(x).view(5, 2, 2) * m.c(x).view(5, 2, 2).mT).flatten(1)), c=Linear(3, 4)),
        X,
        "a.outer:2 PERMUTATION, a:2 sign+sign+positive+positive in a.outer",
    ),
    "view of what is squared": (
        two(lambda m, x: m.b(squared_in_place(m.a(x), torch.Tensor.view_as))),
        X,
        "a:4 NONZERO",
    ),
    "dropout of what is squared": (
        two(lambda m, x: m.b(squared_in_place(m.a(x), lambda h, _: F.dropout(h, 0.5, False)))),
        X,
        "a:4 NONZERO",
    ),
    "copy of what is squared": (
        two(lambda m, x: m.b(squared_in_place(m.a(x), lambda h, _: h.clone()))),
        X,
        "a:4 NONZERO",
    ),
    "depth of the samples": (
        two(
            lambda m, x: m.b(F.grid_sample(m.a(x), m.grid, align_corners=False)),
            a=nn.Conv3d(2, 3, 1),
            b=nn.Conv3d(3, 2, 1),
            grid=drawn(2, 3, 4, 5, 3),
        ),
        drawn(2, 2, 4, 4, 4),
        "a:3 NONZERO",
    ),
    "outer product": (
        Net(lambda m, x: m.b((m.a(x)[:, :, None] * m.a(x)[:, None]).flatten(1)), a=Linear(3, 4), b=Linear(16, 2)),
        X,
        "a:4 NONZERO",
    ),
    "outer product and its mirror": (
        Net(
            lambda m, x: m.b((lambda o: o + o.mT)(m.a(x)[:, :, None] * m.c(x)[:, None]).flatten(1).relu()),
            a=Linear(3, 4),
            c=Linear(3, 4),
            b=Linear(16, 2),
        ),
        X,
        "a:4 POSITIVE",
    ),
    "a matrix and its mirror": (
        two(lambda m, x: m.b((m.a(x) @ (m.w + m.w.t())).relu()), w=weight(4, 4)),
        X,
        "a:4 POSITIVE",
    ),
    "stacked and summed": (
        two(lambda m, x: m.b(torch.stack([m.a(x), m.c(x).relu()]).sum(0)), c=Linear(3, 4)),
        X,
        "a:4 POSITIVE",
    ),
    "heads summed": (
        Net(lambda m, x: m.b(m.a(x).view(5, 3, 2).relu().sum(1)), a=Linear(3, 6), b=Linear(2, 2)),
        X,
        "a:3 PERMUTATION, a:2:2 POSITIVE",
    ),
    "halves exchanged": (
        two(lambda m, x: m.b((lambda h: torch.cat([h[:, 2:], h[:, :2]], 1) + h)(m.a(x).relu()))),
        X,
        "a:2 POSITIVE",
    ),
    "spread over many": (
        Net(lambda m, x: m.b((m.a(x) + m.c(x)).relu()), a=Linear(3, 1), c=Linear(3, 4), b=Linear(4, 2)),
        X,
        "c:4 PERMUTATION",
    ),
    "a learned initial state": (
        Net(
            lambda m, x: m.b(m.r(x, m.h.expand(-1, 5, -1).contiguous())[0]),
            r=nn.GRU(3, 4, batch_first=True),
            h=weight(1, 1, 4),
            b=Linear(4, 2),
        ),
        S,
        "r:4 SIGN",
    ),
    "bilinear in one tensor": (
        Net(
            lambda m, x: m.b(m.c(m.a(x).tanh(), m.a(x).tanh())), a=Linear(3, 4), c=nn.Bilinear(4, 4, 3), b=Linear(3, 2)
        ),
        X,
        "a:4 SIGN, c:3 NONZERO",
    ),
    "largest of windows": (chain(nn.Conv1d(2, 3, 2), nn.MaxPool1d(2), nn.Conv1d(3, 2, 1)), MAP, "0:3 POSITIVE"),
}


def squared_in_place(h: torch.Tensor, view: Any) -> torch.Tensor:
    other = view(h, h)
    h.pow_(2)
    return other


@pytest.mark.parametrize("name", STILL)
def test_nothing_moves(name: str) -> None:
    module, inputs, reason = STILL[name]
    spec = spec_of(module, inputs, verify=False)
    assert spec.free_axes == ()
    assert any(re.search(reason, note.reason) for note in spec.notes), spec.notes
    assert all(note.reason in spec.report() for note in spec.notes)


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_strict_names_operation_and_remedy(name: str) -> None:
    module, inputs, _ = STILL[name]
    with pytest.raises(SpecError, match="(?s)(not understood|Net: torch.export).*Rewrite the operation"):
        spec_of(module, inputs, strict=True)


def test_strict_names_the_module_of_an_operation() -> None:
    module = chain(Linear(3, 4), Net(lambda m, x: ramp(x)), Linear(4, 2))
    with pytest.raises(SpecError, match="ramp.*in '1'"):
        spec_of(module, X, strict=True)


@pytest.mark.parametrize("name", LESS)
def test_only_what_is_left(name: str) -> None:
    module, inputs, expected = LESS[name]
    spec = spec_of(module, inputs, verify=False)
    assert free(spec) == expected
    assert max(function_error(module, spec, inputs, randomise=randomise) for randomise in (False, True)) < 1e-9
