"""Elements of a weight space's symmetry group, and how they move one block of parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from weightspace.errors import ShapeError, SymmetryError
from weightspace.groups import Monomial
from weightspace.spec.network import Axis, Factor, NetworkSpec, ParamSpec

__all__ = ["Element", "identity", "sample_element"]


@dataclass(frozen=True, eq=False)
class Element:
    """A batch of elements of the symmetry group of some axes: one batch of monomial matrices per free axis.

    Args:
        axes: the free axes, each outer axis before those nested in it.
        parts: the monomial matrices of each, by axis name.

    Symmetry:
        `act(g @ h, x) == act(g, act(h, x))` and `act(g.inverse(), act(g, x)) == x`.
    """

    axes: tuple[Axis, ...]
    parts: Mapping[str, Monomial]
    _outer: dict[str, list[str]] = field(init=False, repr=False)  # by axis, what it is nested in, outermost first
    _sizes: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Not when first asked for: torch.compile cannot read the lock that functools.cached_property takes.
        object.__setattr__(self, "_outer", _outer_axes(self.axes))
        object.__setattr__(self, "_sizes", {axis.name: axis.size for axis in self.axes})

    def __len__(self) -> int:
        return len(next(iter(self.parts.values()))) if self.parts else 1

    def __getitem__(self, rows: Tensor | slice) -> "Element":
        return Element(self.axes, {name: part[rows] for name, part in self.parts.items()})

    def __matmul__(self, other: "Element") -> "Element":
        if self.axes != other.axes:
            raise SymmetryError(
                f"elements on the axes {[a.name for a in self.axes]} and {[a.name for a in other.axes]} cannot be "
                "composed; sample both from one spec."
            )
        return Element(
            self.axes, {a.name: self.parts[a.name] @ self._reorder(a, other.parts[a.name]) for a in self.axes}
        )

    def inverse(self) -> "Element":
        """The elements that undo these."""
        done: dict[str, Monomial] = {}
        for axis in self.axes:
            blockwise = self.parts[axis.name].inverse()
            nested = axis.within is not None
            done[axis.name] = Element(self.axes, done)._reorder(axis, blockwise) if nested else blockwise
        return Element(self.axes, done)

    def _reorder(self, axis: Axis, part: Monomial) -> Monomial:
        """The blocks of a nested axis's part, moved as this element moves the outer units."""
        perm, scale = part.perm, part.scale
        for depth, outer in enumerate(self._outer[axis.name], start=1):
            by = self.parts[outer]
            perm = by.move(perm, range(1, depth + 1))
            scale = by.move(scale, range(2, depth + 2))
        return Monomial(perm, scale)

    def move_block(self, param: ParamSpec, tensor: Tensor) -> Tensor:
        r"""One parameter of a batch of networks, moved and scaled along all its legs at once.

        With unit `i` of each leg's axis taken from `perm[i]`, one index into the flattened block is composed from all
        legs, :math:`\sum_l \mathrm{perm}_l(i_l)\,\mathrm{stride}_l`, and one scalar per entry,
        :math:`\prod_l \mathrm{scale}_l(i_l)^{\mathrm{power}_l}`. A nested leg is paired with the nearest leg of its
        outer axis to the left.

        Args:
            param: the parameter; its legs on axes that this element does not move stay as they are.
            tensor: its values in each network.

        Shapes:
            tensor: `(batch, *axes, channels)`, with as many networks as there are elements, or one of both is one.
            Result: `(batch, *axes, channels)`, the larger of the two batches.

        Raises:
            ShapeError: a tensor whose axes do not fit the legs.
            SymmetryError: other numbers of elements and networks, neither of them one.

        Example:
            >>> from weightspace.spec import spec_of
            >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)))
            >>> g = Element(
            ...     spec.free_axes, {"0": Monomial(torch.tensor([[2, 0, 1]]), torch.tensor([[[-1.0, 1.0, 1.0]]]))}
            ... )
            >>> g.move_block(spec.param("0.bias"), torch.tensor([10.0, 20.0, 30.0]).reshape(1, 3, 1)).flatten()
            tensor([-30.,  10.,  20.])
        """
        self._check_block(param, tensor)
        legs = self._moving_legs(param)
        moved = _reordered(tensor, len(self), [(part.perm, dims) for part, dims, _ in legs])
        # Half precision holds neither 1e-8 nor 1e8, whose product is one: scales are composed in float32 at least.
        wide = torch.promote_types(tensor.dtype, torch.float32)
        weights = [
            _placed(part.weight(powers).to(tensor.device, wide), dims, tensor.ndim)
            for part, dims, powers in legs
            if any(powers)
        ]
        if not weights:
            return moved
        # The smallest first: only the last product is as large as the block. What was gathered is this function's own.
        return moved.mul_(reduce(torch.mul, sorted(weights, key=Tensor.numel)).to(tensor.dtype))

    def _moving_legs(self, param: ParamSpec) -> list[tuple[Monomial, list[int], tuple[int, ...]]]:
        """Of each leg that moves: its matrices, where its outer units and its own stand, and its powers."""
        names = [leg.axis for leg in param.legs]
        return [
            (self.parts[leg.axis], self._leg_dims(names, position), leg.powers)
            for position, leg in enumerate(param.legs)
            if leg.axis in self.parts
        ]

    def _leg_dims(self, names: Sequence[str], position: int) -> list[int]:
        """Tensor dimensions of a leg's outer legs and of itself; the outer leg is the nearest one to the left."""
        dims = [position + 1]
        for outer in reversed(self._outer[names[position]]):
            position = max(i for i in range(position) if names[i] == outer)
            dims.insert(0, position + 1)
        return dims

    def _check_block(self, param: ParamSpec, tensor: Tensor) -> None:
        """Raise where the tensor has other axes than the legs say, or the batches do not go together."""
        expected, found = [self._sizes.get(leg.axis) for leg in param.legs], tensor.shape[1:-1]
        if len(found) != len(expected) or any(e not in (None, n) for e, n in zip(expected, found, strict=True)):
            words = ", ".join("any" if size is None else str(size) for size in expected)
            raise ShapeError(
                f"the tensor of parameter {param.name!r} has shape {tuple(tensor.shape)}; expected (batch, *axes, "
                f"channels) with axes of sizes ({words})."
            )
        if len(self) != len(tensor) and 1 not in (len(self), len(tensor)):
            raise SymmetryError(f"{len(self)} group elements for {len(tensor)} networks; expected as many, or one.")


def _reordered(tensor: Tensor, elements: int, perms: Sequence[tuple[Tensor, Sequence[int]]]) -> Tensor:
    """The tensor with its dimensions reordered by `perms`, each a batch of indices with the dimensions it runs over."""
    batch = len(tensor) if elements == 1 else elements
    if not perms:
        return tensor.expand(batch, *tensor.shape[1:])
    # What stands behind the last dimension that moves is copied in one piece.
    last = 1 + max(dims[-1] for _, dims in perms)
    sizes, rest = tensor.shape[1:last], tensor.shape[last:]
    strides = [sizes[dim:].numel() for dim in range(last)]
    terms = [(_placed(perm.to(tensor.device), dims, last), strides[dims[-1]]) for perm, dims in perms]
    moving = {dims[-1] for _, dims in perms}
    for dim in range(last):
        if dim not in moving and tensor.shape[dim] > 1:
            steps = torch.arange(0, tensor.shape[dim] * strides[dim], strides[dim], device=tensor.device)
            terms.append((steps.reshape([-1 if other == dim else 1 for other in range(last)]), 1))
    (first, stride), *others = sorted(terms, key=lambda term: term[0].numel())
    index = first * stride if stride > 1 else first
    for values, stride in others:
        index = torch.add(index, values, alpha=stride)
    index = index.expand(batch, *sizes).reshape(-1)
    # Single numbers are taken from a flat tensor: several times faster than from rows of length one.
    places = len(tensor) * sizes.numel()
    rows = tensor.reshape(places) if rest.numel() == 1 else tensor.reshape(places, rest.numel())
    return rows.index_select(0, index).reshape(batch, *sizes, *rest)


def _placed(values: Tensor, dims: Sequence[int], ndim: int) -> Tensor:
    """Values `(batch, *outer, units)` as a tensor of `ndim` dimensions, those behind the batch standing at `dims`."""
    shape = [1] * ndim
    for size, dim in zip(values.shape, (0, *dims), strict=True):
        shape[dim] = size
    return values.reshape(shape)


def _outer_axes(axes: Iterable[Axis]) -> dict[str, list[str]]:
    """By axis, the names of those among `axes` that it is nested in, outermost first."""
    within = {axis.name: axis.within for axis in axes}
    chains: dict[str, list[str]] = {}
    for name, outer in within.items():
        chain = chains[name] = []
        while outer in within:
            chain.insert(0, outer)
            outer = within[outer]
    return chains


def _free_axes(spec: NetworkSpec) -> tuple[Axis, ...]:
    """The free axes, outer ones first. Raises where a free axis is nested in one that cannot move."""
    free = {axis.name for axis in spec.free_axes}
    for axis in spec.free_axes:
        if axis.within is not None and axis.within not in free:
            raise SymmetryError(
                f"axis {axis.name!r} is free but nested in {axis.within!r}, which is fixed; "
                "describe each unit of the outer axis as parameters of its own."
            )
    outer = _outer_axes(spec.axes)
    return tuple(sorted(spec.free_axes, key=lambda axis: len(outer[axis.name])))


def _block_shapes(axes: Iterable[Axis]) -> dict[str, tuple[int, ...]]:
    """By axis, the shape `(*outer, units)` of one group element's permutations."""
    sizes = {axis.name: axis.size for axis in axes}
    return {name: (*(sizes[o] for o in outer), sizes[name]) for name, outer in _outer_axes(axes).items()}


def identity(spec: NetworkSpec, batch: int = 1) -> Element:
    """The elements that change nothing."""
    axes = _free_axes(spec)
    shapes, parts = _block_shapes(axes), {}
    for axis in axes:
        shape = shapes[axis.name]
        scale = torch.ones(batch, len(axis.symmetry.factors), *shape, dtype=torch.float64)
        parts[axis.name] = Monomial(torch.arange(axis.size).expand(batch, *shape), scale)
    return Element(axes, parts)


def sample_element(
    spec: NetworkSpec,
    batch: int,
    *,
    generator: torch.Generator | None = None,
    log_scale: float = 1.0,
    powers_of_two: bool = False,
    permute: bool = True,
) -> Element:
    """Random elements of the symmetry group: uniform permutations and signs, log-uniform positive scales.

    Args:
        spec: the space the elements act on.
        batch: how many elements.
        generator: source of randomness; `None` takes torch's global one.
        log_scale: positive factors lie between `10**-log_scale` and `10**log_scale` (decades).
        powers_of_two: round positive factors to powers of two, by which products and sums are scaled exactly.
        permute: whether units change place too.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(2, 8), Sine(30.0), torch.nn.Linear(8, 1)))
        >>> g = sample_element(spec, batch=4, generator=torch.Generator().manual_seed(0))
        >>> [(name, tuple(part.perm.shape), tuple(part.scale.shape)) for name, part in g.parts.items()]
        [('0', (4, 8), (4, 1, 8))]
    """
    axes = _free_axes(spec)
    shapes, parts = _block_shapes(axes), {}
    for axis in axes:
        shape = (batch, *shapes[axis.name])
        perm = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(-1)
        perm = perm if permute else torch.arange(axis.size).expand(shape)
        factors = [_sample_factor(f, shape, generator, log_scale, powers_of_two) for f in axis.symmetry.factors]
        scale = torch.stack(factors, 1) if factors else torch.ones(batch, 0, *shape[1:], dtype=torch.float64)
        parts[axis.name] = Monomial(perm, scale)
    return Element(axes, parts)


def _sample_factor(
    factor: Factor, shape: tuple[int, ...], generator: torch.Generator | None, log_scale: float, powers_of_two: bool
) -> Tensor:
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    if factor is Factor.SIGN:
        return torch.where(uniform < 0, -1.0, 1.0).to(torch.float64)
    if powers_of_two:
        return torch.exp2((uniform * log_scale * 3.3219).round())
    return 10 ** (uniform * log_scale)
