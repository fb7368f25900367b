"""What is known of a tensor on its way through the network: the units of each dimension, and how they scale."""

from dataclasses import dataclass, field, replace
from math import prod

from weightspace.spec.trace.atom import Atom
from weightspace.spec.trace.form import Form

__all__ = ["PLAIN", "UNIT", "Dim", "Mark", "Part", "Slot", "Value", "dim_size", "fixed", "part_size", "uniform"]


@dataclass(frozen=True)
class Mark:
    """How the units of one atom scale in one tensor, and the place of the network they belong to."""

    positive: Form = field(default_factory=dict)
    sign: Form = field(default_factory=dict)
    place: str | None = None


PLAIN = Mark()


@dataclass(frozen=True)
class Slot:
    """One digit of a dimension's index.

    Args:
        size: how many values it takes.
        atom: the units it runs over; `None` for positions that are no units (pixels, tokens, the batch).
        marks: one per leaf of the atom.
        uniform: the tensor does not depend on it (a constant, or a dimension that was expanded).
        zero: uniform, and zero (padding).
        stack: it counts tensors that were packed into one.
    """

    size: int
    atom: Atom | None = None
    marks: tuple[Mark, ...] = ()
    uniform: bool = False
    zero: bool = False
    stack: bool = False


# A part is a product of slots, outermost first; a dimension is a row of parts, one behind the other.
Part = tuple[Slot, ...]
Dim = tuple[Part, ...]
UNIT: Dim = ((),)


def part_size(part: Part) -> int:
    """Number of values that a product of slots takes."""
    return prod(slot.size for slot in part)


def dim_size(dim: Dim) -> int:
    """Length of a dimension."""
    return sum(part_size(part) for part in dim)


def fixed(size: int) -> Dim:
    """A dimension of positions that are no units."""
    return UNIT if size == 1 else ((Slot(size),),)


def uniform(size: int, *, zero: bool = False) -> Dim:
    """A dimension that the tensor does not depend on."""
    return UNIT if size == 1 else ((Slot(size, uniform=True, zero=zero),),)


@dataclass(frozen=True)
class Value:
    """A tensor as the tracer sees it.

    Args:
        dims: one per dimension.
        zero: whether it is zero throughout.
        shared: whether other operations use it too.
        param: the parameter it is, reshaped at most.
        cases: for tensors packed along one dimension, the dimensions of each; `dims` are then those of the first.
    """

    dims: tuple[Dim, ...]
    zero: bool = False
    shared: bool = False
    param: str | None = None
    cases: tuple[tuple[Dim, ...], ...] = ()

    def with_dims(self, dims: tuple[Dim, ...]) -> "Value":
        """The same tensor, with its entries rearranged."""
        return replace(self, dims=dims, cases=())

    def without_zeros(self) -> "Value":
        """The same dimensions for a tensor of which nothing is known to be zero."""
        dims = tuple(tuple(tuple(replace(slot, zero=False) for slot in part) for part in dim) for dim in self.dims)
        return replace(self, dims=dims, zero=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return tuple(dim_size(dim) for dim in self.dims)
