"""From signals on a group to signals on a subgroup or on cosets, and back."""

from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightspace.errors import GroupError, ShapeError
from weightspace.groups import Subgroup, left_cosets, right_cosets

__all__ = ["CosetLift", "CosetPool", "GroupPool", "GroupUnpool", "Pooling"]


class Pooling(StrEnum):
    """What is taken of many values: the largest, or the mean."""

    MAX = "max"
    MEAN = "mean"

    def __call__(self, x: Tensor, dim: int) -> Tensor:
        """The values along one dimension become one."""
        # Where several are the largest amax divides the gradient among them, so that gradients are equivariant too.
        return x.amax(dim) if self == Pooling.MAX else x.mean(dim)


def _window(subgroup: Subgroup, window: Tensor | None) -> Tensor:
    if window is None:
        return right_cosets(subgroup).transversal
    if window.ndim != 1 or not len(window):
        raise GroupError(f"a window is a list of at least one element, not a tensor of shape {tuple(window.shape)}")
    return subgroup.parent._checked(window).cpu()


def _reach(subgroup: Subgroup, window: Tensor) -> Int[Tensor, "subgroup window"]:
    return subgroup.parent.multiply(subgroup.inclusion[:, None], window[None])


def _checked(subgroup: Subgroup, representation: Tensor | None) -> Tensor | None:
    """Products of generators go to products of matrices."""
    if representation is None:
        return None
    if len(representation) != subgroup.order:
        raise GroupError(f"{len(representation)} matrices for the {subgroup.order} elements of {subgroup!r}")
    for s in subgroup.generators or (subgroup.identity,):
        products = representation[subgroup.multiply(subgroup.elements, s)]
        if not torch.allclose(products, representation @ representation[s], atol=1e-5):
            raise GroupError(
                f"no representation of {subgroup!r}: products with element {s} are not products of matrices"
            )
    return representation


def _check(x: Tensor, length: int, where: str) -> None:
    if x.shape[1] != length:
        raise ShapeError(f"signals of length {x.shape[1]}, expected {length} on {where}")


class GroupPool(nn.Module):
    r"""Pools windows: :math:`y(h) = \max_{t \in T} x(h t)`, or the mean, for `h` in a subgroup `H`.

    With the elements of a transversal of the cosets `H t` for a window each value is read once: for the even
    translations of a plane this is pooling of two by two pixels with stride 2.

    Shapes:
        `(batch, order, channels)` to `(batch, subgroup.order, channels)`: signals on the subgroup, which is a group.

    Symmetry:
        :math:`f(\lambda_k x) = \lambda_k f(x)` for every `k` in the subgroup.

    Args:
        subgroup: the subgroup `H`.
        mode: what is taken of a window.
        window: the elements `T`; the smallest of each right coset of `H` if left out.

    Raises:
        GroupError: for a window without elements.

    Example:
        >>> from weightspace.groups import cyclic, subgroup
        >>> pool = GroupPool(subgroup(cyclic(6), [2]))
        >>> pool(torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])[None, :, None]).flatten()
        tensor([3., 4., 9.])
    """

    index: Tensor

    def __init__(self, subgroup: Subgroup, mode: Pooling = Pooling.MAX, window: Int[Tensor, " window"] | None = None):
        super().__init__()
        self.subgroup, self.mode = subgroup, Pooling(mode)
        self.register_buffer("index", _reach(subgroup, _window(subgroup, window)), persistent=False)

    def extra_repr(self) -> str:
        """The subgroup and what is taken."""
        return f"{self.subgroup!r}, mode={self.mode.value!r}"

    def forward(self, x: Float[Tensor, "batch order channels"]) -> Float[Tensor, "batch subgroup channels"]:
        """Signals on the subgroup."""
        _check(x, self.subgroup.parent.order, repr(self.subgroup.parent))
        return self.mode(x.index_select(1, self.index.flatten()).unflatten(1, self.index.shape), 2)


class GroupUnpool(nn.Module):
    r"""The adjoint of pooling by means: every value goes back to its window, :math:`z(h t) \mathrel{+}= y(h) / |T|`.

    Shapes:
        `(batch, subgroup.order, channels)` to `(batch, order, channels)`.

    Symmetry:
        :math:`f(\lambda_k y) = \lambda_k f(y)` for every `k` in the subgroup, and
        :math:`\langle f(y), x\rangle = \langle y, \mathrm{pool}(x)\rangle`.

    Args:
        subgroup: the subgroup that signals come from.
        window: as for :class:`GroupPool`.

    Raises:
        GroupError: for a window without elements.

    Example:
        >>> from weightspace.groups import cyclic, subgroup
        >>> GroupUnpool(subgroup(cyclic(6), [2]))(torch.tensor([2.0, 4.0, 6.0])[None, :, None]).flatten()
        tensor([1., 1., 2., 2., 3., 3.])
    """

    index: Tensor

    def __init__(self, subgroup: Subgroup, window: Int[Tensor, " window"] | None = None):
        super().__init__()
        self.subgroup = subgroup
        self.register_buffer("index", _reach(subgroup, _window(subgroup, window)), persistent=False)

    def extra_repr(self) -> str:
        """The subgroup."""
        return repr(self.subgroup)

    def forward(self, y: Float[Tensor, "batch subgroup channels"]) -> Float[Tensor, "batch order channels"]:
        """Signals on the whole group."""
        _check(y, self.subgroup.order, repr(self.subgroup))
        window = self.index.shape[1]
        out = y.new_zeros(len(y), self.subgroup.parent.order, y.shape[2])
        return out.index_add(1, self.index.flatten(), (y / window).repeat_interleave(window, 1))


class CosetPool(nn.Module):
    r"""Pools left cosets: :math:`y(gH) = \max_{h \in H} x(g h)`, or the mean. `H = G` leaves one value per channel.

    With a representation :math:`\sigma` of `H` what comes out transforms by it, as arrows on pixels turn with the
    picture: :math:`y(tH) = \operatorname{mean}_h \sigma(h)\, x(t h)` for `t` of the transversal.

    Shapes:
        `(batch, order, channels)` to `(batch, cosets, channels)`, with cosets numbered as by
        :func:`weightspace.groups.left_cosets`.

    Symmetry:
        :math:`f(\lambda_k x) = \rho_k f(x)` for every `k` of the group, with the action
        :func:`weightspace.groups.quotient` on cosets; invariant for `H = G`. With a representation, `k` also multiplies
        channels: it takes the value at `tH` to `kt = t'h'` and there by :math:`\sigma(h')`.

    Args:
        subgroup: the subgroup `H`.
        mode: what is taken of a coset.
        representation: :math:`\sigma` for the elements of `H` in their order, on every `dim` channels; trivial if left
            out. It allows means alone.

    Raises:
        GroupError: if the representation is none, or stands beside a maximum.

    Example:
        >>> from weightspace.groups import dihedral, subgroup
        >>> rotations = subgroup(dihedral(3), [1])
        >>> CosetPool(rotations)(torch.arange(6.0)[None, :, None]).flatten()
        tensor([2., 5.])
    """

    members: Tensor | None
    turns: Tensor | None

    def __init__(
        self,
        subgroup: Subgroup,
        mode: Pooling = Pooling.MAX,
        representation: Float[Tensor, "subgroup dim dim"] | None = None,
    ):
        super().__init__()
        self.subgroup, self.mode = subgroup, Pooling(mode)
        if representation is not None and self.mode != Pooling.MEAN:
            raise GroupError("values that a representation turns have no largest one: use mode 'mean'")
        whole = subgroup.order == subgroup.parent.order
        self.register_buffer("members", None if whole else left_cosets(subgroup).members, persistent=False)
        self.register_buffer("turns", _checked(subgroup, representation), persistent=False)

    def extra_repr(self) -> str:
        """The subgroup and what is taken."""
        return f"{self.subgroup!r}, mode={self.mode.value!r}"

    def forward(self, x: Float[Tensor, "batch order channels"]) -> Float[Tensor, "batch cosets channels"]:
        """Functions of cosets."""
        _check(x, self.subgroup.parent.order, repr(self.subgroup.parent))
        if self.members is None:
            by_coset = x.unsqueeze(1)
        else:
            by_coset = x.index_select(1, self.members.flatten()).unflatten(1, self.members.shape)
        if self.turns is None:
            return self.mode(by_coset, 2)
        parts = by_coset.unflatten(3, (-1, self.turns.shape[1]))
        return torch.einsum("hij,bthcj->btci", self.turns, parts).flatten(2) / self.subgroup.order


class CosetLift(nn.Module):
    r"""Reads functions of left cosets as signals on the group: :math:`x(g) = y(gH)`, the adjoint of sums over cosets.

    So pictures get to the group of their motions: pixels are the cosets of the turns about one of them. With a
    representation each element sees channels as it is turned itself: :math:`x(th) = \sigma(h)^{-1} y(tH)`.

    Shapes:
        `(batch, cosets, channels)` to `(batch, order, channels)`.

    Symmetry:
        :math:`f(\rho_k y) = \lambda_k f(y)` for every `k` of the group, with the action of :class:`CosetPool`.

    Args:
        subgroup: the subgroup `H`.
        representation: as for :class:`CosetPool`.

    Raises:
        GroupError: if the representation is none.

    Example:
        >>> from weightspace.groups import dihedral, subgroup
        >>> CosetLift(subgroup(dihedral(3), [1]))(torch.tensor([7.0, 8.0])[None, :, None]).flatten()
        tensor([7., 7., 7., 8., 8., 8.])
    """

    place: Tensor
    turns: Tensor | None

    def __init__(self, subgroup: Subgroup, representation: Float[Tensor, "subgroup dim dim"] | None = None):
        super().__init__()
        self.subgroup = subgroup
        # Where each element stands among cosets and their members; the coset alone is enough where nothing is turned.
        cosets = left_cosets(subgroup)
        place = cosets.label if representation is None else cosets.members.flatten().argsort()
        self.register_buffer("place", place, persistent=False)
        turns = _checked(subgroup, representation)
        back = None if turns is None else turns[subgroup.inverse(subgroup.elements)]
        self.register_buffer("turns", back, persistent=False)

    def extra_repr(self) -> str:
        """The subgroup."""
        return repr(self.subgroup)

    def forward(self, y: Float[Tensor, "batch cosets channels"]) -> Float[Tensor, "batch order channels"]:
        """Signals on the group."""
        _check(y, self.subgroup.parent.order // self.subgroup.order, f"the cosets of {self.subgroup!r}")
        if self.turns is None:
            return y.index_select(1, self.place)
        turned = torch.einsum("hij,btcj->bthci", self.turns, y.unflatten(2, (-1, self.turns.shape[1])))
        return turned.flatten(1, 2).index_select(1, self.place).flatten(2)
