"""What happens on the edges of one wire: the messages along them, and what becomes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.layers.block import blockwise, summed
from weightspace.layers.gated import Gated
from weightspace.layers.graph import Edges
from weightspace.layers.sharing import Maps

__all__ = ["EdgeFeatures", "Unread", "edges_updated", "formed", "message_sums"]


@dataclass(frozen=True)
class Unread:
    """Edges that are still a linear map of their weights. Maps that follow join it, so they never stand in memory.

    Args:
        values: `(batch, *dims, width)`.
        maps: holds the map from `width` to the edges' channels.
        wire: whose map it is.
    """

    values: Tensor
    maps: Maps
    wire: Edges

    @property
    def ndim(self) -> int:
        """Dimensions of the edges."""
        return self.values.ndim

    @property
    def matrix(self) -> Tensor:
        """The map, `(width, channels)`."""
        return self.maps.matrix(self.wire)

    def formed(self) -> Tensor:
        """The edges."""
        return self.maps(self.wire, self.values)

    @property
    def multiples(self) -> bool:
        """Whether all edges are multiples of one vector."""
        return self.maps.constant(self.wire) is None and self.values.shape[-1] == 1

    def mixed(self, mix: nn.Linear, values: Tensor) -> Tensor:
        """What another map makes of the edges of these values."""
        constant = self.maps.constant(self.wire)
        return F.linear(values, mix(self.matrix).T, None if constant is None else mix(constant))


EdgeFeatures = Tensor | Unread


def formed(edge: EdgeFeatures) -> Tensor:
    """Edges as a tensor."""
    return edge.formed() if isinstance(edge, Unread) else edge


def message_sums(
    gate: Gated,
    mix: nn.Linear | None,
    sent: Tensor,
    edge: EdgeFeatures | None,
    receiver: Tensor | None,
    to: Sequence[int],
    *,
    lean: bool,
) -> Tensor:
    r"""Messages `gate(receiver, mix(edge) * sent)`, added up at their receivers over the root of their number.

    Args:
        gate: makes messages.
        mix: linear map of edges.
        sent: what senders say, laid beside the edges.
        edge: the edges; `None` where there are none.
        receiver: who receives, laid beside the edges; `None` where messages do not see it.
        to: dimensions of the receivers.
        lean: whether nothing but the arguments is kept for gradients, see `blockwise`.

    Shapes:
        `(batch, *dims, channels)` each, with one in place of any dimension that something does not depend on, to
        `(batch, *dims that are in to, channels)`.
    """
    others = [] if receiver is None else [receiver]
    if edge is None or mix is None:
        return _added(lambda sent, *others: gate(*others, sent), [gate], [sent, *others], to, lean=lean)
    if isinstance(edge, Unread) and edge.multiples:
        prepared = gate.prepared(sent * mix(edge.matrix))
        return _added(gate.of_multiple, [gate], [edge.values, *prepared, *others], to, lean=lean)

    def message(values: Tensor, sent: Tensor, *others: Tensor) -> Tensor:
        new = edge.mixed(mix, values) if isinstance(edge, Unread) else mix(values)
        return gate(*others, sent * new)

    values, used = (edge.values, [edge.maps]) if isinstance(edge, Unread) else (edge, [])
    return _added(message, [gate, mix, *used], [values, sent, *others], to, lean=lean)


def _added(
    message: Callable[..., Tensor], used: Sequence[nn.Module], parts: Sequence[Tensor], to: Sequence[int], *, lean: bool
) -> Tensor:
    whole = torch.broadcast_shapes(*[part.shape[:-1] for part in parts])
    over = [dim for dim in range(1, len(whole)) if dim not in to]
    sums = blockwise(message, used, parts, over) if lean else summed(message(*parts), over)
    return sums / sqrt(prod([whole[dim] for dim in over])) if over else sums


def edges_updated(
    mix: nn.Linear, answer: nn.Module, edge: EdgeFeatures, ends: Sequence[Tensor], *, gated: bool, lean: bool
) -> Tensor:
    """New edges: `mix(edge) * answer(sum of ends)`, or, where they are not gated, `answer(sum of ends + mix(edge))`.

    Args:
        mix: linear map of edges.
        answer: a network.
        edge: the edges.
        ends: what is known of the vertices at both ends, laid beside the edges.
        gated: whether the edges follow a scalar.
        lean: whether nothing but the arguments is kept for gradients, see `blockwise`.

    Shapes:
        `(batch, *dims, channels)` each, with one in place of any dimension that an end does not depend on.
    """
    used = [mix, answer, edge.maps] if isinstance(edge, Unread) else [mix, answer]

    def updated(values: Tensor, one: Tensor, other: Tensor) -> Tensor:
        new = edge.mixed(mix, values) if isinstance(edge, Unread) else mix(values)
        return new * answer(one + other) if gated else answer(one + other + new)

    parts = [edge.values if isinstance(edge, Unread) else edge, *ends]
    return blockwise(updated, used, parts) if lean else updated(*parts)
