"""Small classifiers that `fit` trains: perceptrons on rows of numbers, transformers on rows of tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightspace.errors import TrainingError, unknown

__all__ = ["MlpSettings", "Transformer", "TransformerSettings", "mlp"]

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


@dataclass(frozen=True)
class MlpSettings:
    """Which perceptron.

    Args:
        widths: units of each hidden layer.
        activation: relu, tanh or gelu.

    Raises:
        TrainingError: a layer without units.
        UnknownNameError: an activation that does not exist.
    """

    widths: tuple[int, ...] = (32, 32)
    activation: str = "relu"

    def __post_init__(self) -> None:
        if not all(width >= 1 for width in self.widths):
            raise TrainingError(f"widths are {self.widths}; expected at least one unit in each layer.")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)


@dataclass(frozen=True)
class TransformerSettings:
    """Which transformer.

    Args:
        width: units of a token.
        heads: of attention; they share the units.
        hidden: units between the two layers of a perceptron.
        blocks: of attention and perceptron.

    Raises:
        TrainingError: a size below 1, or a width that the heads cannot share.
    """

    width: int = 16
    heads: int = 2
    hidden: int = 32
    blocks: int = 2

    def __post_init__(self) -> None:
        if min(self.width, self.heads, self.hidden, self.blocks) < 1 or self.width % self.heads:
            raise TrainingError(f"{self} has a size below 1, or a width that is no multiple of the heads.")


def mlp(settings: MlpSettings, inputs: int, classes: int) -> nn.Sequential:
    """A perceptron with dropout, off by itself, after each activation.

    Symmetry:
        the units of each hidden layer may be permuted; scaled by positive numbers for relu, by signs for tanh.

    Example:
        >>> mlp(MlpSettings((5,)), 4, 3)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    parts: list[nn.Module] = []
    for width in settings.widths:
        parts += [nn.Linear(inputs, width), ACTIVATIONS[settings.activation](), nn.Dropout(0.0)]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, classes))


class Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to them."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        width, self.heads = settings.width, settings.heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.join = (nn.Linear(width, width) for _ in range(4))
        self.rise, self.fall, self.drop = (
            nn.Linear(width, settings.hidden),
            nn.Linear(settings.hidden, width),
            nn.Dropout(0.0),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(example, token, unit)`` to the same."""
        shown = self.first(tokens)
        query, key, value = (
            layer(shown).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.drop(self.join(seen.transpose(1, 2).flatten(2)))
        return tokens + self.drop(self.fall(nn.functional.gelu(self.rise(self.second(tokens)))))


class Transformer(nn.Module):
    """An encoder of tokens with places of their own, and a dense layer on their mean.

    Shapes:
        input: ``(example, token, number)``; output: ``(example, class)``.

    Args:
        settings: the sizes.
        tokens: how many each example has.
        numbers: in each.
        classes: outputs.

    Example:
        >>> Transformer(TransformerSettings(), 8, 8, 10)(torch.zeros(2, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, settings: TransformerSettings, tokens: int, numbers: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(numbers, settings.width)
        self.place = nn.Parameter(torch.randn(tokens, settings.width) * 0.1)
        self.blocks = nn.Sequential(*(Block(settings) for _ in range(settings.blocks)))
        self.norm, self.out = nn.LayerNorm(settings.width), nn.Linear(settings.width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of each example."""
        return self.out(self.norm(self.blocks(self.embed(tokens) + self.place)).mean(1))
