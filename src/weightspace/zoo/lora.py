r"""Low-rank adapters as a network: pairs of factors, and the changes of weights that they stand for."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import SpecError

__all__ = ["LoRA", "pairs"]

# The two factors of a pair by the ends of their names in a PEFT adapter: those of linear layers and convolutions, which
# are modules, and those of embeddings, which are parameters.
_ENDS = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}


class LoRA(nn.Module):
    r"""The changes :math:`s\,B_l A_l` that an adapter adds to weights :math:`W_l`, under the names of a PEFT adapter.

    For any invertible :math:`g` of size :math:`r \times r`, the pair :math:`(B g^{-1}, g A)` makes the same change. Of
    these, a spec describes the monomial ones: permutations of the :math:`r` directions with factors other than 0.

    Args:
        shapes: of all factors by name: :math:`A` of ``(r, in, ...)`` and :math:`B` of ``(out, r, ...)``.

    Shapes:
        ``()``, the scale :math:`s`; gives one ``(out, in * ...)`` per pair.

    Raises:
        SpecError: a name or a shape that is none of a pair's.

    Example:
        >>> lora = LoRA({"q.lora_A.weight": (2, 5), "q.lora_B.weight": (4, 2)})
        >>> [tuple(change.shape) for change in lora(torch.ones(()))]
        [(4, 5)]

    References:
        Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, 2021, section 4.1.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self._pairs = pairs(shapes)
        for name, shape in shapes.items():
            *folders, last = name.split(".")
            parent: nn.Module = self
            for folder in folders:
                if folder not in parent._modules:
                    parent.add_module(folder, nn.Module())
                parent = parent.get_submodule(folder)
            parent.register_parameter(last, nn.Parameter(torch.randn(tuple(shape)) / max(shape[1], 1) ** 0.5))

    def forward(self, scale: Tensor) -> tuple[Tensor, ...]:
        """The change of each weight, convolutions with their kernels flattened behind the inputs."""
        return tuple(scale * (self._factor(b) @ self._factor(a)) for a, b in self._pairs)

    def _factor(self, name: str) -> Tensor:
        # Not get_parameter: a copy for another precision holds plain tensors.
        found: Any = reduce(getattr, name.split("."), self)
        assert isinstance(found, Tensor)
        return found.flatten(1)


def pairs(shapes: Mapping[str, Sequence[int]]) -> list[tuple[str, str]]:
    """The names of each pair's factors, :math:`A` first, in the order given.

    Raises:
        SpecError: as for :class:`LoRA`.

    Example:
        >>> pairs({"q.lora_A.weight": (2, 5), "v.lora_A.weight": (2, 5), "q.lora_B.weight": (4, 2)})
        Traceback (most recent call last):
        weightspace.errors.SpecError: 'v.lora_A.weight' has no 'v.lora_B.weight' beside it; expected both factors.
    """
    found = []
    for name in shapes:
        end = next((end for end in _ENDS if name.endswith(end)), None)
        if end is not None:
            partner = name.removesuffix(end) + _ENDS[end]
            if partner not in shapes:
                raise SpecError(f"{name!r} has no {partner!r} beside it; expected both factors.")
            _check(name, shapes[name], partner, shapes[partner])
            found.append((name, partner))
    known = {name for pair in found for name in pair}
    for name in shapes:
        if name not in known:
            raise SpecError(
                f"{name!r} belongs to no pair of low-rank factors ({', '.join([*_ENDS, *_ENDS.values()])}). Remedy: "
                "import adapters that change weights by such pairs alone."
            )
    return found


def _check(a: str, first: Sequence[int], b: str, second: Sequence[int]) -> None:
    kernel = tuple(second[2:])
    if min(len(first), len(second)) < 2 or first[0] != second[1] or any(size != 1 for size in kernel):
        raise SpecError(
            f"{a!r} has shape {tuple(first)} and {b!r} {tuple(second)}; expected (r, in, ...) and (out, r) of one r."
        )
