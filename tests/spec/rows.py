"""Modules of every kind that `spec_of` reads, with the symmetries that it must find."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.spec import NetworkSpec, Sine

GENERATOR = torch.Generator().manual_seed(0)
Linear, Conv = nn.Linear, nn.Conv2d


def drawn(*shape: int) -> Tensor:
    """Standard normal values, the same in every run."""
    return torch.randn(shape, generator=GENERATOR)


def weight(*shape: int) -> nn.Parameter:
    """A parameter with random values."""
    return nn.Parameter(drawn(*shape))


class Net(nn.Module):
    """A module from a function of itself and its inputs; tensors among its parts become buffers."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Whatever the function gives."""
        return self.function(self, *arguments, **keywords)


def chain(*layers: nn.Module) -> nn.Sequential:
    """Layers one behind the other, as they are when they are used."""
    return nn.Sequential(*layers).eval()


def two(function: Callable[..., Any], **parts: nn.Module | Tensor) -> Net:
    """Four units between three inputs (`m.a`) and two outputs (`m.b`)."""
    return Net(function, **{"a": Linear(3, 4), "b": Linear(4, 2), **parts})


def free(spec: NetworkSpec) -> str:
    """The axes that may move, in words."""
    lines = []
    for axis in spec.free_axes:
        factors = repr(axis.symmetry)
        if axis.symmetry.factors and "Symmetry" in factors:
            factors = "+".join(axis.symmetry.factors)
        within = f" in {axis.within}" if axis.within else ""
        lines.append(f"{axis.name}:{axis.size} {factors}{within}")
    return ", ".join(lines)


X, S, IMAGE = drawn(5, 3), drawn(5, 4, 3), drawn(2, 2, 4, 4)
TOKENS = torch.arange(6).view(2, 3)


@dataclass(frozen=True)
class Row:
    """A module, what it is called with, and its free axes. `complete`: no continuous symmetry may be missed."""

    module: nn.Module
    inputs: Any
    found: str
    complete: bool = False


def residual(norm: nn.Module | None = None) -> Net:
    parts = {} if norm is None else {"norm": norm}

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.b(h + m.down(m.up(m.norm(h) if parts else h).relu()))

    return two(forward, up=Linear(4, 5), down=Linear(5, 4), **parts).eval()


def unet(m: Net, x: Tensor) -> Tensor:
    above = m.first(x).relu()
    below = m.second(F.max_pool2d(above, 2)).relu()
    return m.out(torch.cat([above, m.up(below).relu()], 1))


def squeezed(m: Net, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.b(h * m.up(m.down(h.mean((2, 3))).relu()).sigmoid()[:, :, None, None])


def mixed(m: Net, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.b(h + m.back(m.over(h.mT).relu()).mT)


def cells(m: Net, x: Tensor) -> Tensor:
    h = c = torch.zeros(5, 4)
    for step in range(4):
        h, c = m.cell(x[:, step], (h, c))
    return m.b(h)


def one_state(m: Net, x: Tensor) -> Tensor:
    h = m.cell(x[:, 0])
    for step in range(1, 4):
        h = m.cell(x[:, step], h)
    return m.b(h)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


def thirds_unbound(m: Net, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).view(5, 4, 3, 2, 3).permute(2, 0, 3, 1, 4).unbind(0)
    return m.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(5, 4, 6))


def thirds_selected(m: Net, x: Tensor) -> Tensor:
    packed = m.qkv(x).view(5, 4, 3, 2, 3).permute(2, 0, 3, 1, 4)
    return m.out(attention(packed[0], packed[1], packed[2]))


def thirds_of_heads(m: Net, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).view(5, 4, 2, 9).transpose(1, 2).chunk(3, -1)
    return m.out(attention(q, k, v))


def heads(x: Tensor, count: int) -> Tensor:
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def grouped_query(m: Net, x: Tensor) -> Tensor:
    q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
    k, v = (one[:, :, None].expand(5, 2, 2, 4, 3).reshape(5, 4, 4, 3) for one in (k, v))
    return m.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def grouped_query_flag(m: Net, x: Tensor) -> Tensor:
    q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
    return m.out(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))


def tied_embedding() -> Net:
    embed, head = nn.Embedding(7, 4), Linear(4, 7, bias=False)
    head.weight = embed.weight
    return Net(
        lambda m, i: m.head((lambda h: h + m.b(m.a(h).relu()))(m.e(i))),
        e=embed,
        a=Linear(4, 5),
        b=Linear(5, 4),
        head=head,
    )


def rotary(m: Net, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.b(h * m.cosine + torch.cat([-h[:, 2:], h[:, :2]], 1) * m.sine)


def without_gradient(m: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = m.a(x).relu()
    return m.b(h)


def rms(m: Net, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.b(m.gain * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)))


def grouped_queries(forward: Callable[..., Tensor]) -> Net:
    return Net(forward, q=Linear(3, 12), k=Linear(3, 6), v=Linear(3, 6), out=Linear(12, 2))


def shuffled(m: Net, x: Tensor) -> Tensor:
    h = m.first(x).relu()
    return m.last(m.second(h.view(2, 2, 3, 4, 4).transpose(1, 2).reshape(2, 6, 4, 4)).relu())


def nested_units(m: Net, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.b(
        h.view(5, 4, 2).softmax(2).flatten(1) + h.view(5, 4, 2).logsumexp(2, keepdim=True).expand(5, 4, 2).flatten(1)
    )


def norms(norm: nn.Module) -> nn.Sequential:
    return chain(nn.Conv1d(2, 6, 1), norm, nn.ReLU(), nn.Conv1d(6, 2, 1))


MAP = drawn(2, 2, 5)
ROWS: Mapping[str, Row] = {
    "linear": Row(chain(Linear(3, 4), nn.ReLU(), Linear(4, 2)), X, "0:4 POSITIVE", True),
    "no bias": Row(chain(Linear(3, 4, bias=False), nn.Tanh(), Linear(4, 2, bias=False)), X, "0:4 SIGN", True),
    "siren": Row(chain(Linear(3, 4), Sine(3.0), Linear(4, 4), Sine(3.0), Linear(4, 2)), X, "0:4 SIGN, 2:4 SIGN", True),
    "one unit": Row(
        chain(Linear(3, 1), nn.ReLU(), Linear(1, 1), nn.Tanh(), Linear(1, 2)), X, "0:1 POSITIVE, 2:1 SIGN", True
    ),
    "leaky, unbatched": Row(chain(Linear(3, 4), nn.LeakyReLU(0.1), Linear(4, 2)), X[0], "0:4 POSITIVE", True),
    "gelu": Row(chain(Linear(3, 4), nn.GELU(), nn.Dropout(), Linear(4, 2)), X, "0:4 PERMUTATION", True),
    "square": Row(two(lambda m, x: m.b(m.a(x) ** 2)), X, "a:4 NONZERO"),
    "conv1d": Row(chain(nn.Conv1d(2, 3, 2, stride=2), nn.ReLU(), nn.Conv1d(3, 2, 1)), MAP, "0:3 POSITIVE", True),
    "conv2d": Row(
        chain(Conv(2, 3, 3, padding="same", dilation=2), nn.ReLU(), Conv(3, 2, 1)), IMAGE, "0:3 POSITIVE", True
    ),
    "conv3d": Row(chain(nn.Conv3d(1, 3, 2), nn.ReLU(), nn.Conv3d(3, 1, 1)), drawn(2, 1, 3, 3, 3), "0:3 POSITIVE", True),
    "depthwise": Row(
        chain(Conv(2, 4, 1), nn.ReLU(), Conv(4, 4, 3, groups=4), nn.ReLU(), Conv(4, 2, 1)),
        IMAGE,
        "0:4 positive+positive",
        True,
    ),
    "depthwise, two each": Row(
        chain(Conv(2, 3, 1), nn.ReLU(), Conv(3, 6, 3, groups=3), nn.ReLU(), Conv(6, 2, 1)),
        IMAGE,
        "0:3 POSITIVE, 2:2 POSITIVE in 0",
        True,
    ),
    "grouped": Row(
        chain(Conv(2, 4, 1), nn.ReLU(), Conv(4, 6, 3, groups=2), nn.Tanh(), Conv(6, 2, 1)),
        IMAGE,
        "0.outer:2 PERMUTATION, 0:2 POSITIVE in 0.outer, 2:3 SIGN in 0.outer",
        True,
    ),
    "grouped from the input": Row(chain(Conv(2, 6, 1, groups=2), nn.ReLU(), Conv(6, 2, 1)), IMAGE, "0:3 POSITIVE"),
    "transposed": Row(
        chain(nn.ConvTranspose1d(2, 3, 2), nn.ReLU(), nn.ConvTranspose1d(3, 2, 1)), MAP, "0:3 POSITIVE", True
    ),
    "transposed, grouped": Row(
        chain(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.ConvTranspose1d(4, 6, 3, groups=2), nn.Tanh(), nn.Conv1d(6, 2, 1)),
        MAP,
        "0.outer:2 PERMUTATION, 0:2 POSITIVE in 0.outer, 2:3 SIGN in 0.outer",
        True,
    ),
    "transposed, depthwise": Row(
        chain(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.ConvTranspose1d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv1d(4, 2, 1)),
        MAP,
        "0:4 positive+positive",
        True,
    ),
    "pooled": Row(
        chain(
            Conv(2, 3, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            Linear(3, 2),
        ),
        IMAGE,
        "0:3 POSITIVE",
        True,
    ),
    "flattened": Row(chain(Conv(2, 3, 3), nn.ReLU(), nn.Flatten(), Linear(12, 2)), IMAGE, "0:3 POSITIVE", True),
    "batch norm": Row(chain(Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), Linear(4, 2)), X, "0:4 sign+positive+positive"),
    "batch norm, training": Row(
        chain(Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), Linear(4, 2)).train(), X, "0:4 NONZERO"
    ),
    "batch norm of maps": Row(
        chain(Conv(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU(), Conv(3, 2, 1)),
        IMAGE,
        "0:3 sign+positive+positive",
    ),
    "batch norm, no gain": Row(
        chain(Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.ReLU(), Linear(4, 2)), X, "0:4 POSITIVE"
    ),
    "layer norm": Row(chain(Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), Linear(4, 2)), X, "0:4 POSITIVE"),
    "rms norm": Row(chain(Linear(3, 4), nn.RMSNorm(4), nn.ReLU(), Linear(4, 2)), X, "0:4 NONZERO"),
    "rms norm by hand": Row(two(rms, gain=weight(4)), X, "a:4 sign+sign+positive"),
    "group norm": Row(norms(nn.GroupNorm(3, 6)), MAP, "0.outer:3 SIGN, 0:2 POSITIVE in 0.outer"),
    "group norm of one group": Row(norms(nn.GroupNorm(1, 6)), MAP, "0:6 POSITIVE"),
    "instance norm": Row(norms(nn.InstanceNorm1d(6, affine=True)), MAP, "0:6 NONZERO"),
    "instance norm, stored": Row(
        norms(nn.InstanceNorm1d(6, affine=True, track_running_stats=True)), MAP, "0:6 sign+positive+positive"
    ),
    "prelu": Row(chain(Linear(3, 4), nn.PReLU(4), Linear(4, 2)), X, "0:4 POSITIVE", True),
    "prelu, shared": Row(chain(Linear(3, 4), nn.PReLU(), Linear(4, 2)), X, "0:4 POSITIVE", True),
    "residual": Row(residual(), X, "a:4 NONZERO, up:5 POSITIVE"),
    "residual layer norm": Row(residual(nn.LayerNorm(4)), X, "a:4 NONZERO, up:5 POSITIVE"),
    "concatenated": Row(
        Net(
            lambda m, x: m.b(torch.cat([m.a(x).relu(), m.c(x).tanh()], 1)),
            a=Linear(3, 4),
            c=Linear(3, 2),
            b=Linear(6, 2),
        ),
        X,
        "a:4 POSITIVE, c:2 SIGN",
        True,
    ),
    "u-net": Row(
        Net(
            unet,
            first=Conv(2, 3, 3, padding=1),
            second=Conv(3, 4, 3, padding=1),
            up=nn.ConvTranspose2d(4, 2, 2, stride=2),
            out=Conv(5, 1, 1),
        ),
        IMAGE,
        "first:3 POSITIVE, second:4 POSITIVE, up:2 POSITIVE",
        True,
    ),
    "squeeze and excitation": Row(
        Net(squeezed, a=Conv(2, 4, 1), down=Linear(4, 2), up=Linear(2, 4), b=Conv(4, 2, 1)),
        IMAGE,
        "a:4 NONZERO, down:2 POSITIVE",
    ),
    "embedding": Row(
        Net(lambda m, i: m.b(m.a(m.e(i)).relu()), e=nn.Embedding(7, 4), a=Linear(4, 5), b=Linear(5, 2)),
        TOKENS,
        "e:4 NONZERO, a:5 POSITIVE",
    ),
    "tied embedding": Row(tied_embedding(), TOKENS, "e:4 SIGN, a:5 POSITIVE"),
    "tied autoencoder": Row(
        Net(lambda m, x: F.linear(m.a(x).tanh(), m.a.weight.t(), m.shift), a=Linear(3, 4), shift=weight(3)),
        X,
        "a:4 SIGN",
        True,
    ),
    "tied autoencoder, relu": Row(
        Net(lambda m, x: F.linear(m.a(x).relu(), m.a.weight.t()), a=Linear(3, 4)), X, "a:4 PERMUTATION", True
    ),
    "used twice": Row(
        two(lambda m, x: m.b(m.c(m.c(m.a(x).relu()).relu()).relu()), c=Linear(4, 4)), X, "a:4 POSITIVE", True
    ),
    "two inputs, two outputs": Row(
        two(lambda m, p, q: {"s": m.b(m.a(p).relu()), "t": [m.c(q) + m.a(p).relu().sum(1)[:, None]]}, c=Linear(3, 2)),
        {"p": X, "q": X},
        "a:4 PERMUTATION",
    ),
    "siamese": Row(two(lambda m, x, y: m.b((m.a(x).relu() - m.a(y).relu()).abs())), (X, X + 1), "a:4 POSITIVE", True),
    "functional": Row(
        Net(lambda m, x: F.linear(F.relu(F.linear(x, m.v, m.c)), m.w), v=weight(4, 3), c=weight(4), w=weight(2, 4)),
        X,
        "output:4 POSITIVE",
        True,
    ),
    "einsum": Row(
        Net(
            lambda m, x: torch.einsum("bi,io->bo", torch.einsum("bi,ij->bj", x, m.v).relu(), m.w),
            v=weight(3, 4),
            w=weight(4, 2),
        ),
        X,
        "output:4 POSITIVE",
        True,
    ),
    "gated": Row(two(lambda m, x: m.b(F.silu(m.a(x)) * m.c(x)), c=Linear(3, 4)), X, "a:4 NONZERO", True),
    "glu": Row(Net(lambda m, x: m.b(F.glu(m.a(x))), a=Linear(3, 8), b=Linear(4, 2)), X, "a:4 NONZERO", True),
    "chunked gate": Row(
        Net(lambda m, x: m.b((lambda u, v: u.sigmoid() * v)(*m.a(x).chunk(2, 1))), a=Linear(3, 8), b=Linear(4, 2)),
        X,
        "a:4 NONZERO",
        True,
    ),
    "moved about": Row(
        Net(
            lambda m, x: m.b(
                m.a(x)
                .view(5, 4, 2, 3)
                .permute(0, 2, 1, 3)
                .reshape(5, 2, 12)
                .relu()
                .view(5, 2, 4, 3)
                .permute(0, 2, 1, 3)
                .reshape(5, 4, 6)
            ),
            a=Linear(3, 6),
            b=Linear(6, 2),
        ),
        S,
        "a.outer:2 PERMUTATION, a:3 POSITIVE in a.outer",
        True,
    ),
    "patches": Row(
        Net(lambda m, x: m.b(m.a(x).flatten(2).transpose(1, 2).relu()), a=Conv(2, 6, 2, 2), b=Linear(6, 2)),
        IMAGE,
        "a:6 POSITIVE",
        True,
    ),
    "mixer": Row(two(mixed, over=Linear(4, 6), back=Linear(6, 4)), S, "a:4 PERMUTATION, over:6 POSITIVE"),
    "channel shuffle": Row(
        Net(shuffled, first=Conv(2, 6, 1), second=Conv(6, 6, 1, groups=3), last=Conv(6, 2, 1)),
        IMAGE,
        "first:2 POSITIVE, first:2:3 POSITIVE, second:2 POSITIVE in first:2",
    ),
    "pixel shuffle": Row(
        Net(lambda m, x: m.b(F.pixel_shuffle(m.a(x), 2).relu()), a=Conv(2, 8, 1), b=Conv(2, 2, 1)),
        IMAGE,
        "a.outer:2 POSITIVE",
        True,
    ),
    "nested units": Row(
        Net(nested_units, a=Linear(3, 8), b=Linear(8, 2)),
        X,
        "a.outer:4 PERMUTATION, a:2 PERMUTATION in a.outer",
    ),
    "maxout": Row(
        Net(lambda m, x: m.b(m.a(x).view(5, 4, 2).amax(2)), a=Linear(3, 8), b=Linear(4, 2)),
        X,
        "a.outer:4 POSITIVE, a:2 PERMUTATION in a.outer",
    ),
    "positions of the largest": Row(
        Net(
            lambda m, x: m.b(F.max_pool2d(m.a(x), 2, return_indices=True)[1].float()), a=Conv(2, 3, 1), b=Conv(3, 2, 1)
        ),
        IMAGE,
        "a:3 POSITIVE",
    ),
    "written as integers": Row(
        two(lambda m, x: m.b(torch.empty(5, 4, dtype=torch.int64).copy_(9 * m.a(x).relu()).float())),
        X,
        "a:4 PERMUTATION",
    ),
    "summed as integers": Row(
        two(lambda m, x: m.b((9 * m.a(x).relu()).sum(0, dtype=torch.int64).float())), X, "a:4 PERMUTATION"
    ),
    "lone units, packed": Row(
        Net(lambda m, x: torch.stack([m.a(x), m.b(x)]).squeeze(-1), a=Linear(3, 1), b=Linear(3, 1)), X, ""
    ),
    "latents": Row(
        Net(lambda m, x: F.scaled_dot_product_attention(x, m.l, m.l), l=weight(4, 3)), X, "output:4 PERMUTATION"
    ),
    "latents, causal": Row(
        Net(
            lambda m, x: m.b(F.scaled_dot_product_attention(m.l, m.l, m.l, is_causal=True).mean(0) + x),
            l=weight(4, 3),
            b=Linear(3, 2),
        ),
        X,
        "",
    ),
    "bounds of units": Row(
        two(lambda m, x: m.b(m.a(x).clamp(m.low, m.high)), low=weight(4), high=weight(4)), X, "a:4 POSITIVE"
    ),
    "einsum, dots": Row(
        Net(
            lambda m, x: torch.einsum("...i,io", torch.einsum("...i,ij->...j", x, m.v).relu(), m.w),
            v=weight(3, 4),
            w=weight(4, 2),
        ),
        S,
        "output:4 POSITIVE",
        True,
    ),
    "tensordot": Row(
        Net(lambda m, x: torch.tensordot(torch.tensordot(x, m.v, 1).relu(), m.w, 1), v=weight(3, 4), w=weight(4, 2)),
        S,
        "output:4 POSITIVE",
        True,
    ),
    "unfolded": Row(
        Net(lambda m, x: m.b(F.unfold(m.a(x).relu(), 2).mT), a=Conv(2, 3, 1), b=Linear(12, 2)), IMAGE, "a:3 POSITIVE"
    ),
    "pixel unshuffle": Row(
        Net(lambda m, x: m.b(F.pixel_unshuffle(m.a(x).relu(), 2)), a=Conv(2, 3, 1), b=Conv(12, 2, 1)),
        IMAGE,
        "a:3 POSITIVE",
    ),
    "cosine similarity": Row(
        Net(lambda m, x: F.cosine_similarity(m.a(x), m.a(x + 1)), a=Linear(3, 4)), X, "a:4 PERMUTATION"
    ),
    "weight norm": Row(
        chain(nn.utils.parametrizations.weight_norm(Linear(3, 4)), nn.ReLU(), Linear(4, 2)),
        X,
        "0.dim0:4 sign+positive+positive",
    ),
    "norms over time": Row(
        two(lambda m, x: m.b(m.a(x).norm(dim=1) + m.a(x).std(1) + m.a(x).var(1).sqrt())), S, "a:4 NONZERO"
    ),
    "range over time": Row(two(lambda m, x: m.b(m.a(x).amax(1) - m.a(x).amin(1))), S, "a:4 POSITIVE"),
    "count over time": Row(two(lambda m, x: m.b(m.a(x).norm(p=0, dim=1))), S, "a:4 NONZERO"),
    "bags": Row(Net(lambda m, i: m.b(m.e(i).relu()), e=nn.EmbeddingBag(7, 4), b=Linear(4, 2)), TOKENS, "e:4 POSITIVE"),
    "bags, largest": Row(
        Net(lambda m, i: m.b(m.e(i)), e=nn.EmbeddingBag(7, 4, mode="max"), b=Linear(4, 2)), TOKENS, "e:4 POSITIVE"
    ),
    "padded shortcut": Row(
        Net(lambda m, x: m.b((F.pad(m.a(x), (0, 3)) + m.c(x)).relu()), a=Linear(3, 4), c=Linear(3, 7), b=Linear(7, 2)),
        X,
        "a:4 POSITIVE, c:3 POSITIVE",
    ),
    "rotated": Row(two(rotary, cosine=drawn(5, 1), sine=drawn(5, 1)), X, "a:2 NONZERO"),
    "in place": Row(chain(Linear(3, 4), nn.ReLU(inplace=True), Linear(4, 2)), X, "0:4 POSITIVE", True),
    "without gradient": Row(two(without_gradient), X, "a:4 POSITIVE"),
    "lstm": Row(
        Net(lambda m, x: m.b(m.r(x)[0]), r=nn.LSTM(3, 4, 2, batch_first=True), b=Linear(4, 2)),
        S,
        "r:4 SIGN, r:2:4 SIGN",
    ),
    "lstm, bidirectional": Row(
        Net(lambda m, x: m.b(m.r(x)[0]), r=nn.LSTM(3, 2, 2, bidirectional=True), b=Linear(4, 2)),
        S,
        "r:2 SIGN, r:2:2 SIGN, r:3:2 SIGN, r:4:2 SIGN",
    ),
    "lstm, projected": Row(
        Net(lambda m, x: m.b(m.r(x)[0]), r=nn.LSTM(3, 4, proj_size=2), b=Linear(2, 2)), S, "r:2 SIGN, r.dim0:2 SIGN"
    ),
    "gru": Row(
        Net(lambda m, x: m.b(m.r(x)[1][-1]), r=nn.GRU(3, 4, 2, batch_first=True), b=Linear(4, 2)),
        S,
        "r:4 SIGN, r:2:4 SIGN",
    ),
    "rnn": Row(Net(lambda m, x: m.b(m.r(x)[0]), r=nn.RNN(3, 4), b=Linear(4, 2)), S, "r:4 SIGN"),
    "rnn, relu": Row(
        Net(lambda m, x: m.b(m.r(x)[0]), r=nn.RNN(3, 4, nonlinearity="relu"), b=Linear(4, 2)), S, "r:4 POSITIVE"
    ),
    "gru from an encoder": Row(
        Net(
            lambda m, x: m.b(m.r(x, m.a(x[:, 0])[None])[0]),
            a=Linear(3, 4),
            r=nn.GRU(3, 4, batch_first=True),
            b=Linear(4, 2),
        ),
        S,
        "a:4 SIGN",
    ),
    "lstm cell": Row(Net(cells, cell=nn.LSTMCell(3, 4), b=Linear(4, 2)), S, "cell:4 SIGN"),
    "gru cell": Row(Net(one_state, cell=nn.GRUCell(3, 4), b=Linear(4, 2)), S, "cell:4 SIGN"),
    "rnn cell": Row(Net(one_state, cell=nn.RNNCell(3, 4), b=Linear(4, 2)), S, "cell:4 SIGN"),
    "multi-head attention": Row(
        Net(
            lambda m, x: m.b((lambda h: h + m.r(h, h, h)[0])(m.a(x))),
            a=Linear(3, 6),
            r=nn.MultiheadAttention(6, 2, batch_first=True),
            b=Linear(6, 2),
        ),
        S,
        "a:6 NONZERO, r.outer:2 PERMUTATION, r:3 NONZERO in r.outer, r:2:3 NONZERO in r.outer",
    ),
    "cross attention": Row(
        Net(
            lambda m, x, y: m.b(m.r(m.a(x), m.c(y), m.c(y))[0]),
            a=Linear(3, 6),
            c=Linear(2, 4),
            r=nn.MultiheadAttention(6, 2, batch_first=True, kdim=4, vdim=4),
            b=Linear(6, 2),
        ),
        (S, drawn(5, 7, 2)),
        "a:6 NONZERO, c:4 NONZERO, r.outer:2 PERMUTATION, r:3 NONZERO in r.outer, r:2:3 NONZERO in r.outer, "
        "r.out_proj:6 NONZERO",
    ),
    "encoder layer": Row(
        chain(Linear(3, 6), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), Linear(6, 2)),
        S,
        "0:6 NONZERO, 1.self_attn.outer:2 PERMUTATION, 1.self_attn:3 NONZERO in 1.self_attn.outer, "
        "1.self_attn:2:3 NONZERO in 1.self_attn.outer, 1.linear1:8 POSITIVE",
    ),
    "attention, thirds unbound": Row(
        Net(thirds_unbound, qkv=Linear(3, 18), out=Linear(6, 2)),
        S,
        "qkv.outer:2 PERMUTATION, qkv:3 NONZERO in qkv.outer, qkv:2:3 NONZERO in qkv.outer",
    ),
    "attention, thirds selected": Row(
        Net(thirds_selected, qkv=Linear(3, 18), out=Linear(6, 2)),
        S,
        "qkv.outer:2 PERMUTATION, qkv:3 NONZERO in qkv.outer, qkv:2:3 NONZERO in qkv.outer",
    ),
    "attention, thirds of heads": Row(
        Net(thirds_of_heads, qkv=Linear(3, 18), out=Linear(6, 2)),
        S,
        "qkv.outer:2 PERMUTATION, qkv:3 NONZERO in qkv.outer, qkv:2:3 NONZERO in qkv.outer",
    ),
    "grouped queries": Row(
        grouped_queries(grouped_query),
        S,
        "q.outer:2 PERMUTATION, q:2 PERMUTATION in q.outer, q:2:3 NONZERO in q.outer, v:3 NONZERO in q.outer",
    ),
    "grouped queries, by flag": Row(
        grouped_queries(grouped_query_flag),
        S,
        "q.outer:2 PERMUTATION, q:2 PERMUTATION in q.outer, q:2:3 NONZERO in q.outer, v:3 NONZERO in q.outer",
    ),
}
