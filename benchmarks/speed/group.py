"""The ways of multiplying by a group matrix, against the dense product and against torch's circular convolution.

Each case is a group, a support, a batch and channels. All ways do one forward and one backward pass, to signals and to
weights, on the same float32 tensors, in turns; `milliseconds` are medians. `matrix` is the product with the whole dense
matrix, formed beforehand, where it has less than 2^27 entries; `dense` also forms it. `torch` is `Conv2d` with circular
padding along the cyclic axes, with cosets as channels, so that it does the same multiplications. For symmetric groups
`product` is in its place: one matrix product of the size of gathered signals and weights, and its two backward.
`chosen` is the way that the cost model takes, `regret` its time over that of the fastest, `over_torch` its time over
that of `torch` or `product`. `ratio` is the time of `matrix` over that of each way, or that of `taps` where the matrix
is too large.

`floor_milliseconds` are what the multiplications of the support would take at the rate of tall products of the same
channels, and what reading and writing signals and weights would take at the rate of copies, both measured in turns
with the ways. Prints one JSON object, and to stderr the rows of a table.

    python benchmarks/speed/group.py [--turns 5] [--threads 1] [--give-back] [--only CASE ...]

See machine.py for `--give-back`.
"""

import json
from collections.abc import Callable
from functools import partial

import torch
from machine import Product, Work, in_turns, milliseconds, parser, prepare, told
from torch import Tensor, nn

from weightspace.groups import Group, ball, box, cyclic, dihedral, direct_product, p4, symmetric
from weightspace.matrices import Convolution, Plan

MOST_ENTRIES = 2**27


def torus(size: int) -> Group:
    return direct_product(cyclic(size), cyclic(size))


def mirrors(size: int) -> Group:
    return direct_product(dihedral(size), dihedral(size))


# Group, support, batch, channels in and out.
CASES: dict[str, tuple[Group, Tensor | None, int, int]] = {
    "Z32 x Z32, radius 3, 8 channels": (torus(32), box(torus(32), 3), 16, 8),
    "Z32 x Z32, radius 3, 120 channels": (torus(32), box(torus(32), 3), 4, 120),
    "Z64 x Z64, radius 1, 128 channels": (torus(64), box(torus(64), 1), 4, 128),
    "Z32 x Z32, all, 1 channel": (torus(32), None, 16, 1),
    "Z32 x Z32, all, 8 channels": (torus(32), None, 16, 8),
    "D14 x D14, radius 2, 8 channels": (mirrors(14), box(mirrors(14), 2), 16, 8),
    "D14 x D14, radius 2, 120 channels": (mirrors(14), box(mirrors(14), 2), 4, 120),
    "Z16 x Z16 with turns, radius 1, 8 channels": (p4(16), box(p4(16), 1), 16, 8),
    "Z16 x Z16 with turns, radius 1, 32 channels": (p4(16), box(p4(16), 1), 16, 32),
    "S4, radius 1, 64 channels": (symmetric(4), ball(symmetric(4), 1), 256, 64),
    "S4, all, 32 channels": (symmetric(4), None, 256, 32),
    "S5, radius 2, 32 channels": (symmetric(5), ball(symmetric(5), 2), 64, 32),
    "S5, all, 8 channels": (symmetric(5), None, 64, 8),
}


def both_ways(call: Callable[..., Tensor], *inputs: Tensor) -> float:
    """Milliseconds of a pass forward and back."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    handed = torch.ones_like(call(*inputs))
    return milliseconds(lambda: call(*leaves).backward(handed))


def against_torch(convolve: Convolution, batch: int, channels: int) -> dict[str, Callable[[], float]]:
    """The convolution of torch that does the same multiplications, or one product of the gathered size."""
    if isinstance(convolve.group, type(symmetric(3))):
        near, mixing = (
            torch.randn(batch * len(convolve.group), convolve.taps * channels),
            torch.randn(convolve.taps * channels, channels),
        )
        return {"product": partial(both_ways, torch.mm, near, mixing)}
    if convolve.taps == convolve.group.order:
        return {}
    lengths, inner = [length for _, length in convolve.box], convolve.cosets * channels
    conv = nn.Conv2d(
        inner, inner, lengths, padding=[length // 2 for length in lengths], padding_mode="circular", bias=False
    )
    x = torch.randn(batch, inner, *convolve.sizes)

    def call(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(conv, {"weight": weight}, (x,))

    return {"torch": partial(both_ways, call, x, conv.weight)}


def compare(name: str, turns: int) -> dict[str, object]:
    group, support, batch, channels = CASES[name]
    torch.manual_seed(0)
    convolve = Convolution(group, support)
    x, weight = torch.randn(batch, group.order, channels), torch.randn(convolve.taps, channels, channels)
    entries = (group.order * channels) ** 2
    plans = [plan for plan in convolve.plans() if plan != Plan.DENSE or entries < MOST_ENTRIES]
    if support is None and group.order > 500:
        plans.remove(Plan.CONVOLUTION)  # torch's kernels as large as the signal take minutes
    ways = {plan.value: partial(both_ways, partial(convolve, plan=plan), x, weight) for plan in plans}
    ways |= against_torch(convolve, batch, channels)
    if entries < MOST_ENTRIES:
        whole = convolve.dense(weight).transpose(1, 2).reshape(group.order * channels, -1)
        ways["matrix"] = partial(both_ways, torch.mm, whole, x.flatten(1).T.contiguous())
    inner = convolve.taps * channels
    work = Work([Product(batch * group.order, inner, channels)], 5 * x.numel() + 3 * weight.numel())
    spent = in_turns({**ways, **work.floors()}, turns)
    first = spent.get("matrix", spent.get("taps", spent["fourier"]))
    chosen, best = convolve.plan(x, weight).value, min(spent[plan.value] for plan in plans)
    return {
        "milliseconds": {way: round(spent[way], 3) for way in ways},
        "ratio": {way: round(first / spent[way], 2) for way in ways},
        "floor_milliseconds": {floor: round(spent[floor], 3) for floor in work.floors()},
        "chosen": chosen,
        "regret": round(spent[chosen] / best, 2),
        "over_torch": round(spent[chosen] / spent.get("torch", spent.get("product", spent[chosen])), 2),
    }


def row(figures: dict) -> list[object]:
    spent = figures["milliseconds"]
    names = ("matrix", *(plan.value for plan in Plan))
    told = [f"{spent[name]:.3g}" if name in spent else "" for name in names]
    found = spent.get("torch", spent.get("product"))
    against = "" if found is None else f"{found:.3g}"
    return [*told, against, figures["chosen"], figures["regret"], figures["over_torch"]]


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    arguments = options.parse_args()
    record = prepare(arguments)
    figures = told(((name, compare(name, arguments.turns)) for name in arguments.only), row)
    print(json.dumps({**record, "cases": figures}, indent=1))
