"""Small networks of our own that the coverage table names beside those that other people wrote.

Each is an ordinary module, written as a user would write it: nothing in it knows of weightspace.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CNN",
    "MLP",
    "SIREN",
    "GatedRecurrentClassifier",
    "LongShortTermClassifier",
    "MixerBlock",
    "RecurrentClassifier",
    "ResidualMLP",
    "TransformerTranslator",
    "TwoBranches",
    "UNet",
]


class MLP(nn.Module):
    """Linear layers with one activation between them."""

    def __init__(self, widths: list[int], activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class ResidualMLP(nn.Module):
    """Pre-normalised residual blocks between two linear maps."""

    def __init__(self, width: int = 32, hidden: int = 48, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(10, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(width, hidden) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(hidden, width) for _ in range(blocks))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(torch.relu(up(norm(x))))
        return self.head(x)


class CNN(nn.Module):
    """Three convolutions with batch normalisation, flattened into two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24)
        self.conv3, self.norm3 = nn.Conv2d(24, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.hidden, self.head = nn.Linear(32 * 4 * 4, 40), nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))


class SIREN(nn.Module):
    """Sine layers of frequency 30 from coordinates to values."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        widths = [2] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(30.0 * layer(x))
        return self.head(x)


class UNet(nn.Module):
    """Two levels down and up again, with concatenated skips and transposed convolutions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1, self.down2 = self.block(1, width), self.block(width, 2 * width)
        self.bottom = self.block(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.merge2 = self.block(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge1 = self.block(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    @staticmethod
    def block(channels_in: int, channels_out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        second = self.merge2(torch.cat([self.up2(bottom), second], 1))
        return self.head(self.merge1(torch.cat([self.up1(second), first], 1)))


class TwoBranches(nn.Module):
    """Two inputs through branches of their own, multiplied, and two outputs from one module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.words = nn.Conv1d(4, 20, 3, padding="same"), nn.Linear(6, 20, bias=False)
        self.shared, self.head = nn.Linear(20, 12), nn.Linear(12, 3)

    def forward(self, image: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        seen = F.leaky_relu(self.image(image)).mean(-1)
        joined = seen * torch.tanh(self.words(words))
        return self.head(F.relu(self.shared(seen))), self.head(F.relu(self.shared(joined)))


class MixerBlock(nn.Module):
    """An MLP-mixer: one MLP over positions, one over channels, each with a skip."""

    def __init__(self, positions: int = 16, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, stride=8)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_positions = nn.Sequential(nn.Linear(positions, 20), nn.GELU(), nn.Linear(20, positions))
        self.over_channels = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, width))
        self.head = nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.over_positions(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.over_channels(self.norm2(x))
        return self.head(x.mean(1))


class TransformerTranslator(nn.Module):
    """`torch.nn.Transformer`, encoder and decoder, between embeddings and a head."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, width)
        self.transformer = nn.Transformer(width, 4, 2, 2, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 60)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.head(self.transformer(self.embedding(source), self.embedding(target)))


class RecurrentClassifier(nn.Module):
    """An Elman network read at its last step."""

    cell: type[nn.RNNBase] = nn.RNN

    def __init__(self, layers: int = 1, width: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.recurrence = self.cell(16, width, layers, batch_first=True)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.recurrence(self.embedding(tokens))
        return self.head(states[:, -1])


class GatedRecurrentClassifier(RecurrentClassifier):
    """A GRU read at its last step."""

    cell = nn.GRU


class LongShortTermClassifier(RecurrentClassifier):
    """An LSTM read at its last step."""

    cell = nn.LSTM
