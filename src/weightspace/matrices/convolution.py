"""Convolution over any finite group: five ways of computing the same product, and the choice between them."""

from collections.abc import Callable
from enum import StrEnum
from math import log2, prod

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from weightspace.errors import GroupError, ShapeError
from weightspace.groups import Frame, Group, frame
from weightspace.matrices.tap import gathered, tap_product

__all__ = ["Convolution", "Plan"]

MOST_INDICES = 2**22
MOST_GATHERED = 2**26
MOST_CONVOLVED_AXES = 3

# How long ways take beside their multiplications, in multiplications per number, fitted to benchmarks/speed/group.py
# on one core. They decide between ways, never what comes out.
FORMED = 140.0  # entries of a dense matrix
GATHERED, SUMMED = 140.0, 175.0  # numbers read for one product, or for one product per tap
PADDED, PLACED = 240.0, 400.0  # numbers of a signal, and of a kernel, on their way into a convolution
WAVED, SPREAD, MIXED = 69.0, 625.0, 10.8  # Fourier transforms, entries of a spectrum, complex multiplications
LANES = 16  # a convolution of fewer channels takes as long as one of so many


class Plan(StrEnum):
    """A way to multiply by a group matrix.

    * `DENSE`: the whole matrix, one product.
    * `GATHER`: for each element its neighbours side by side, one product. For small groups of any kind.
    * `TAPS`: one product per tap, summed up. Needs no more memory than the signals, on the way back too.
    * `CONVOLUTION`: circular convolution along cyclic axes, between cosets as between channels. For small supports.
    * `FOURIER`: Fourier transform along cyclic axes, one product of cosets and channels per frequency. For wide
      supports.
    """

    DENSE = "dense"
    GATHER = "gather"
    TAPS = "taps"
    CONVOLUTION = "convolution"
    FOURIER = "fourier"


class Convolution(nn.Module):
    r"""Multiplies signals on a group by group matrices of one support: :math:`y(h) = \sum_g w_g\, x(h g^{-1})`.

    It holds indices and no parameters; whoever calls it brings the weights. Along the right cosets of a subgroup that
    is a torus (the group's :class:`weightspace.groups.Frame`) the matrix is a block of circular convolutions: with
    :math:`h = a t` the one from coset :math:`t'` to :math:`t` has the kernel :math:`c \mapsto w(t'^{-1} c\, t)`. So a
    dihedral group costs one ordinary convolution with twice the channels.

    Shapes:
        x: `(batch, order, channels in)`.
        weight: `(taps, channels out, channels in / groups)`.
        Gives `(batch, rows, channels out)`, with a row for each element if `rows` is left out.

    Symmetry:
        Commutes with :math:`x \mapsto x(k^{-1}\,\cdot)` for every element `k`; all plans agree.

    Args:
        group: the group.
        support: the elements that have weights, each once; all if left out.
        rows: the elements at which the product is asked for, in the order of what comes out; all if left out.

    Raises:
        GroupError: for a support with repetitions or with what is no element.

    Example:
        >>> from weightspace.groups import box, cyclic, direct_product
        >>> torus = direct_product(cyclic(16), cyclic(16))
        >>> convolve = Convolution(torus, box(torus, 1))
        >>> x, weight = torch.randn(8, 256, 3), torch.randn(9, 5, 3)
        >>> convolve(x, weight).shape, convolve.plan(x, weight)
        (torch.Size([8, 256, 5]), <Plan.CONVOLUTION: 'convolution'>)
        >>> torch.allclose(convolve(x, weight), convolve(x, weight, Plan.DENSE), atol=1e-4)
        True
    """

    support: Tensor
    index: Tensor
    inverse: Tensor
    rows: Tensor | None
    near: Tensor
    everywhere: Tensor
    within: Tensor
    into: Tensor | None
    back: Tensor | None

    def __init__(
        self, group: Group, support: Int[Tensor, " taps"] | None = None, rows: Int[Tensor, " rows"] | None = None
    ):
        super().__init__()
        taps = _support(group, support)
        self.group = group
        self.taps = len(taps)
        self.asked = group.order if rows is None else len(rows)
        self._hold("rows", None if rows is None else group._checked(rows).cpu())
        self._hold("support", taps)
        # Row h has the elements h g^-1, and h g; no columns where they would take too much memory.
        self.indexed = group.order * self.taps <= MOST_INDICES
        kept = taps if self.indexed else taps[:0]
        self._hold("index", _neighbours(group, kept))
        self._hold("inverse", _neighbours(group, group.inverse(kept)))
        self._hold("near", self.index if self.rows is None else self.index[self.rows])
        self.box: tuple[tuple[int, int], ...] = ()
        self._lay_out(group, taps)

    def _hold(self, name: str, value: Tensor | None) -> None:
        self.register_buffer(name, value, persistent=False)

    def _lay_out(self, group: Group, taps: Tensor) -> None:
        made = frame(group).folded(MOST_CONVOLVED_AXES)
        self.sizes, self.cosets = made.sizes, len(made.elements)
        order = made.elements.T.flatten()
        sorted_already = bool((order == group.elements).all())
        self._hold("into", None if sorted_already else order)
        self._hold("back", None if sorted_already else order.argsort())
        coset, steps = _blocks(group, taps, made)
        pairs = torch.arange(self.cosets)[:, None] * self.cosets + coset
        self._hold("everywhere", _flat(pairs, steps, self.sizes))
        self.box = tuple(_arc(steps[..., i], size) for i, size in enumerate(self.sizes))
        lengths = tuple(length for _, length in self.box)
        self.volume = prod(lengths)
        # A convolution of torch reads its kernel backwards.
        turned = [
            (low + length - 1 - steps[..., i]) % size
            for i, (size, (low, length)) in enumerate(zip(self.sizes, self.box, strict=True))
        ]
        self._hold("within", _flat(pairs, torch.stack(turned, -1), lengths))

    def extra_repr(self) -> str:
        """The group and the number of taps."""
        return f"{self.group!r}, taps={self.taps}"

    def forward(
        self,
        x: Float[Tensor, "batch order channels"],
        weight: Float[Tensor, "taps out each"],
        plan: Plan | None = None,
        groups: int = 1,
    ) -> Float[Tensor, "batch rows out"]:
        """The product.

        Args:
            x: signals.
            weight: one block of weights for each tap.
            plan: how; the cheapest way if left out.
            groups: into how many parts channels are divided that do not mix, as in `torch.nn.Conv2d`.

        Raises:
            ShapeError: if shapes do not fit.
            GroupError: for a plan that would take too much memory here.
        """
        self._check(x, weight, groups)
        way = self.plan(x, weight, groups) if plan is None else plan
        if way not in self.plans():
            raise GroupError(f"plan {way.value!r} would hold too many numbers for {self!r}: use another, or None")
        if not len(x):  # some Fourier transforms refuse to do nothing
            return x.new_zeros(0, self.asked, weight.shape[1])
        ways: dict[Plan, Callable[[Tensor, Tensor, int], Tensor]] = {
            Plan.DENSE: self._dense,
            Plan.GATHER: self._gather,
            Plan.TAPS: self._by_taps,
            Plan.CONVOLUTION: self._convolve,
            Plan.FOURIER: self._fourier,
        }
        out = ways[way](x, weight, groups)
        return out if self.rows is None or way == Plan.GATHER else out.index_select(1, self.rows)

    def _check(self, x: Tensor, weight: Tensor, groups: int) -> None:
        if x.shape[1] != self.group.order:
            raise ShapeError(f"signals of length {x.shape[1]} on {self.group!r}, expected {self.group.order}")
        if weight.shape[0] != self.taps:
            raise ShapeError(f"weights of {weight.shape[0]} taps, expected {self.taps}")
        if groups < 1 or weight.shape[2] * groups != x.shape[2] or weight.shape[1] % groups:
            raise ShapeError(
                f"weights of shape {tuple(weight.shape)} in {groups} groups do not fit {x.shape[2]} channels:"
                " expected (taps, channels out, channels in / groups)"
            )

    def plans(self) -> tuple[Plan, ...]:
        """The plans that this group and support allow."""
        small = {
            Plan.DENSE: self.group.order**2 <= MOST_INDICES,
            Plan.GATHER: self.indexed,
            Plan.TAPS: self.indexed,
            Plan.CONVOLUTION: self.cosets**2 * self.volume <= MOST_INDICES,
        }
        return tuple(plan for plan in Plan if small.get(plan, True))

    def plan(self, x: Tensor, weight: Tensor, groups: int = 1) -> Plan:
        """The plan that is expected to be the fastest for tensors of these shapes."""
        costs = self.costs(x.shape[0], weight.shape[1], weight.shape[2], groups)
        allowed = {plan: costs[plan] for plan in self.plans()}
        if x.shape[0] * self.asked * self.taps * x.shape[2] > MOST_GATHERED:
            allowed.pop(Plan.GATHER, None)
        if x.dtype not in (torch.float32, torch.float64) and len(allowed) > 1:
            allowed.pop(Plan.FOURIER)
        return min(allowed, key=lambda plan: allowed[plan])

    def costs(self, batch: int, out: int, each: int, groups: int = 1) -> dict[Plan, float]:
        """Roughly how many multiplications each plan takes, or as much time as so many.

        Args:
            batch: how many signals.
            out: channels that come out.
            each: channels that go into each of them.
            groups: parts of channels that do not mix.
        """
        order, channels, block = self.group.order, each * groups, out * each
        signals = batch * order * (channels + out)
        box, torus, cosets = self.volume, prod(self.sizes), self.cosets
        waves = torus // self.sizes[-1] * (self.sizes[-1] // 2 + 1)
        return {
            Plan.DENSE: (2.1 * batch + FORMED) * order**2 * block,
            Plan.GATHER: batch * self.asked * self.taps * (block + GATHERED * channels),
            Plan.TAPS: batch * order * self.taps * (block + SUMMED * (channels + out)),
            Plan.CONVOLUTION: 0.8 * batch * order * box * each * max(cosets * out, LANES)
            + PADDED * signals
            + PLACED * cosets**2 * box * block,
            Plan.FOURIER: WAVED * log2(torus + 1) * signals + (MIXED * batch + SPREAD) * waves * cosets**2 * block,
        }

    def dense(self, weight: Float[Tensor, "taps out each"]) -> Float[Tensor, "order order out each"]:
        """The blocks of the whole matrix: `dense[h, k]` is what leads from `k` to `h`."""
        order = self.group.order
        index = self.index if self.indexed else _neighbours(self.group, self.support.cpu()).to(weight.device)
        flat = (torch.arange(order, device=index.device)[:, None] * order + index).flatten()
        spread = weight.expand(order, *weight.shape).flatten(0, 1)
        return weight.new_zeros(order**2, *weight.shape[1:]).index_copy(0, flat, spread).unflatten(0, (order, order))

    def _dense(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        blocks = self.dense(weight).unflatten(2, (groups, -1))
        return torch.einsum("hkgoi,bkgi->bhgo", blocks, x.unflatten(2, (groups, -1))).flatten(2)

    def _gather(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        if self.rows is None and x.shape[2] == 1:
            # torch's way back adds number by number where indices say; with more channels it adds rows, and is faster.
            near = gathered(x, self.index, self.inverse)
        else:
            near = x.index_select(1, self.near.flatten()).unflatten(1, self.near.shape)
        if groups == 1:
            return near.flatten(2) @ weight.transpose(1, 2).flatten(0, 1)
        near, mixing = near.unflatten(3, (groups, -1)), weight.unflatten(1, (groups, -1))
        return torch.einsum("bhkgi,kgoi->bhgo", near, mixing).flatten(2)

    def _by_taps(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        parts, mixing = x.unflatten(2, (groups, -1)), weight.unflatten(1, (groups, -1))
        return tap_product(parts, mixing, self.index, self.inverse).flatten(2)

    def on_torus(self, x: Float[Tensor, "batch order channels"]) -> Float[Tensor, "batch *sizes cosets channels"]:
        """Signals in the coordinates of the frame."""
        moved = x if self.into is None else x.index_select(1, self.into)
        return moved.unflatten(1, (*self.sizes, self.cosets))

    def off_torus(self, x: Float[Tensor, "batch *sizes cosets channels"]) -> Float[Tensor, "batch order channels"]:
        """Undoes `on_torus`."""
        moved = x.flatten(1, -2)
        return moved if self.back is None else moved.index_select(1, self.back)

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        lengths = [length for _, length in self.box]
        kernel = weight.new_zeros(self.cosets**2 * prod(lengths), *weight.shape[1:])
        kernel = kernel.index_copy(0, self.within.flatten(), weight.expand(self.cosets, *weight.shape).flatten(0, 1))
        kernel = kernel.unflatten(0, (self.cosets, self.cosets, *lengths)).unflatten(-2, (groups, -1))
        axes = len(lengths)
        space = tuple(range(2, 2 + axes))
        # (cosets out, cosets in, *box, groups, out, in) to (groups, cosets out, out, cosets in, in, *box).
        kernel = kernel.permute(2 + axes, 0, 3 + axes, 1, 4 + axes, *space).flatten(3, 4).flatten(0, 2)
        near = self._padded(self.on_torus(x)).unflatten(-1, (groups, -1)).transpose(-3, -2).flatten(-3)
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
        out = convolve(near.movedim(-1, 1), kernel, groups=groups).movedim(1, -1)
        out = out.unflatten(-1, (groups, self.cosets, -1)).transpose(-3, -2).flatten(-2)
        return self.off_torus(self._turned(out))

    def _padded(self, x: Tensor) -> Tensor:
        for axis, (low, length) in enumerate(self.box, start=1):
            ahead, behind = (length - 1, 0) if low > 0 else (low + length - 1, -low)
            size = x.shape[axis]
            parts = (
                [x.narrow(axis, size - ahead, ahead)] * (ahead > 0) + [x] + [x.narrow(axis, 0, behind)] * (behind > 0)
            )
            x = torch.cat(parts, axis) if len(parts) > 1 else x
        return x

    def _turned(self, x: Tensor) -> Tensor:
        """Where a box lies away from the identity, it was taken as lying there: what comes out is moved instead."""
        away = [(low, axis) for axis, (low, _) in enumerate(self.box, start=1) if low > 0]
        return torch.roll(x, *map(tuple, zip(*away, strict=True))) if away else x

    def waves(self, x: Float[Tensor, "batch order channels"]) -> Complex[Tensor, "frequencies batch cosets channels"]:
        """The Fourier transform of signals along the axes of the frame; for real signals half of it says all."""
        found = torch.fft.rfftn(self.on_torus(x), dim=self._axes())
        return found.flatten(1, len(self.sizes)).movedim(1, 0)

    def from_waves(
        self, waves: Complex[Tensor, "frequencies batch cosets channels"]
    ) -> Float[Tensor, "batch order channels"]:
        """Undoes `waves`."""
        half = (*self.sizes[:-1], self.sizes[-1] // 2 + 1)
        return self.off_torus(torch.fft.irfftn(waves.movedim(0, 1).unflatten(1, half), s=self.sizes, dim=self._axes()))

    def spectrum(self, weight: Float[Tensor, "taps out each"]) -> Complex[Tensor, "frequencies cosets cosets out each"]:
        """For each frequency what leads from cosets and channels to cosets and channels."""
        kernel = weight.new_zeros(self.cosets**2 * prod(self.sizes), *weight.shape[1:])
        spread = weight.expand(self.cosets, *weight.shape).flatten(0, 1)
        kernel = kernel.index_copy(0, self.everywhere.flatten(), spread)
        kernel = kernel.unflatten(0, (self.cosets, self.cosets, *self.sizes))
        found = torch.fft.rfftn(kernel, dim=tuple(range(2, 2 + len(self.sizes))))
        return found.flatten(2, 1 + len(self.sizes)).movedim(2, 0)

    def _fourier(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        waves = self.waves(x).unflatten(3, (groups, -1))
        blocks = self.spectrum(weight).unflatten(3, (groups, -1))
        return self.from_waves(torch.einsum("ftsgoi,fbsgi->fbtgo", blocks, waves).flatten(3))

    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, 1 + len(self.sizes)))


def _support(group: Group, support: Tensor | None) -> Tensor:
    if support is None:
        return group.elements
    taps = group._checked(support).cpu()
    if len(taps.unique()) != len(taps):
        raise GroupError(f"a support has each element once, unlike {taps.tolist()}")
    return taps


def _neighbours(group: Group, taps: Tensor) -> Tensor:
    return group.multiply(group.elements[:, None], group.inverse(taps)[None])


def _blocks(group: Group, taps: Tensor, made: Frame) -> tuple[Tensor, Tensor]:
    """For each coset `t` and tap `g` the coset `t'` and the coordinates of `c` with `t'^-1 c t = g`.

    That is `t g^-1 = c^-1 t'`: the coordinates of `t g^-1`, backwards.
    """
    reached = group.multiply(made.elements[:, :1], group.inverse(taps)[None])
    place = made.coordinates()[reached]
    return place[..., 0], -place[..., 1:] % torch.tensor(made.sizes)


def _flat(pairs: Tensor, steps: Tensor, sizes: tuple[int, ...]) -> Tensor:
    flat = pairs
    for axis, size in enumerate(sizes):
        flat = flat * size + steps[..., axis]
    return flat


def _arc(steps: Tensor, size: int) -> tuple[int, int]:
    """The shortest arc of a ring that has all the steps: where it starts, at most 0 if it holds 0, and its length."""
    used = steps.unique()
    gaps = torch.cat([used[1:], used[:1] + size]) - used
    widest = int(gaps.argmax())
    low = int(used[(widest + 1) % len(used)])
    length = size - int(gaps[widest]) + 1
    return (low - size if low and low + length > size else low), length
