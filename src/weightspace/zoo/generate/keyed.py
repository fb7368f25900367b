r"""Random numbers inside a vectorised program, keyed by network, step and place.

What `torch` draws under `vmap` depends on which networks share a batch. Here a number is a hash of where it is needed:
with a key :math:`k` of network and step and a counter :math:`i` it is the SplitMix64 hash of :math:`k + i \gamma`, so a
network draws the same beside any others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.errors import TrainingError

__all__ = ["Chance", "KeyedDropout", "keyed", "mixed"]

# SplitMix64 (Steele, Lea, Flood 2014) in the signed integers that torch has: products wrap around alike.
_GOLDEN, _FIRST, _SECOND = (
    int(np.uint64(word).astype(np.int64)) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_UNREPEATABLE = (nn.RReLU, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def _shifted(state: Tensor, places: int) -> Tensor:
    """The logical shift to the right: the sign does not come along."""
    return (state >> places) & ((1 << (64 - places)) - 1)


def mixed(state: Tensor) -> Tensor:
    """The SplitMix64 hash of each state, int64.

    Example:
        >>> mixed(torch.tensor([0])).item() % 2**64 == 0xE220A8397B1DCDAF
        True
    """
    state = state + _GOLDEN
    state = (state ^ _shifted(state, 30)) * _FIRST
    state = (state ^ _shifted(state, 27)) * _SECOND
    return state ^ _shifted(state, 31)


class Chance:
    """Where the numbers of one forward pass come from.

    Attributes:
        key: of network and step, int64 without dimensions; under `vmap` one per network.
        rate: of dropout, where it is the network's own.
    """

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.rate: Tensor | None = None
        self._asked = 0

    @contextmanager
    def of(self, key: Tensor, rate: Tensor | None) -> Iterator[None]:
        """Draws by this key for as long as the block runs."""
        self.key, self.rate, self._asked = key, rate, 0
        try:
            yield
        finally:
            self.key = self.rate = None

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Numbers from 0 to below 1 with 24 bits each, others at each call of a pass: ``shape``, float32."""
        assert self.key is not None
        self._asked += 1
        count = int(np.prod(shape, dtype=np.int64))
        key = mixed(self.key ^ (self._asked * _SECOND % 2**63))
        words = mixed(key + torch.arange(count) * _GOLDEN)
        return (_shifted(words, 40).float() * 2.0**-24).view(tuple(shape))


class KeyedDropout(nn.Module):
    """Dropout whose masks are a network's own, whoever is trained beside it.

    Args:
        rate: share that is dropped where the network has none of its own.
        chance: where masks come from.

    Raises:
        TrainingError: a rate of 1, which leaves nothing.
    """

    def __init__(self, rate: float, chance: Chance) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise TrainingError(f"nn.Dropout has the rate {rate}; expected one from 0 to below 1.")
        self.rate, self.chance = rate, chance

    def forward(self, values: Tensor) -> Tensor:
        """Drops values and scales the others up; in `eval` mode gives all as they are."""
        if not self.training or (self.chance.rate is None and self.rate == 0):
            return values
        rate = self.rate if self.chance.rate is None else self.chance.rate
        kept = self.chance.uniform(values.shape) >= rate
        return values * kept / (1 - rate)


def keyed(template: nn.Module, chance: Chance) -> nn.Module:
    """A copy of a module in which every ``nn.Dropout`` draws from `chance`.

    Raises:
        TrainingError: a module that draws in another way.
    """
    copy = deepcopy(template)
    if isinstance(copy, nn.Dropout):
        return KeyedDropout(copy.p, chance)
    for name, module in copy.named_modules():
        if isinstance(module, _UNREPEATABLE):
            raise _refusal(name, module, "draws random numbers in a way that cannot be keyed by network")
        if not isinstance(module, nn.Dropout) and isinstance(rate := getattr(module, "dropout", None), float) and rate:
            raise _refusal(name, module, f"drops values by a rate of its own ({rate})")
        for child, part in list(module.named_children()):
            if type(part) is nn.Dropout:
                setattr(module, child, KeyedDropout(part.p, chance).train(part.training))
    return copy


def _refusal(name: str, module: nn.Module, reason: str) -> TrainingError:
    return TrainingError(
        f"{type(module).__name__} {name or 'of the template'!r} {reason}; expected nn.Dropout, the only random module "
        f"that networks side by side can have. Remedy: set its rate to 0, or use nn.Dropout in its place."
    )
