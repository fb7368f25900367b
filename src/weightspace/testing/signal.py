"""Laws of symmetry for functions of signals on finite groups, and on sets that such groups act on."""

from collections.abc import Callable

import torch
from torch import Tensor

from weightspace.groups import Action
from weightspace.testing.orbit import orbit_error

__all__ = ["signal_error"]


def signal_error(
    f: Callable[[Tensor], Tensor], x: Tensor, before: Action, after: Action | None = None, *, elements: int = 32
) -> float:
    """How far `f` is from `f(g x) = g f(x)` at signals `x`, over elements of a finite group.

    A signal has the shape `(batch, points, channels)`, and `(g x)(p) = x(g^-1 p)`.

    Args:
        f: a function of signals; a model should be in evaluation mode and in float64.
        x: the signals.
        before: how the group acts on the points of `x`, as :func:`weightspace.groups.regular` on the group itself.
        after: how it acts on those of the answer; `None` for an invariant answer.
        elements: so many elements are tried, spread evenly over the group; all of a smaller group.

    Returns:
        `max |g^-1 f(g x) - f(x)| / max |f(x)|` over the elements.

    Example:
        >>> from weightspace.groups import cyclic, regular
        >>> ring = regular(cyclic(8))
        >>> x = torch.randn(2, 8, 1, dtype=torch.float64)
        >>> signal_error(lambda x: x + x.roll(1, 1), x, ring, ring)
        0.0
        >>> signal_error(lambda x: x * torch.arange(8)[:, None], x, ring, ring) > 0.1
        True
    """
    group = before.group
    found = 0.0
    for g in torch.linspace(0, group.order - 1, min(elements, group.order)).round().to(torch.int64):

        def move(signal: Tensor, g: Tensor = g) -> Tensor:
            return signal[:, before.move(group.inverse(g), torch.arange(before.points))]

        def back(signal: Tensor, g: Tensor = g) -> Tensor:
            return signal if after is None else signal[:, after.move(g, torch.arange(after.points))]

        found = max(found, orbit_error(f, move, back, x))
    return found
