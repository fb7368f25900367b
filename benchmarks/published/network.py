"""The architectures of the published networks, written anew from the description that each package gives."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CascadeFilter", "PeptideScorer", "PitchTracker", "SpeechDetector", "classifier", "digit_reader", "mlp"]


def mlp(weights: list[tuple[Tensor, Tensor]], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Linear layers of these weights and biases with an activation between them."""
    layers: list[nn.Module] = []
    for weight, bias in weights:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


class ChannelsLast(nn.Module):
    """Flattens feature maps position by position, as Keras does: the channels of one position lie side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def digit_reader() -> nn.Sequential:
    """Two convolutions, one pooling and two linear layers on MNIST digits."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), ChannelsLast(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10), nn.Softmax(1),
    )  # fmt: skip


def classifier() -> nn.Sequential:
    """Six convolutions on CIFAR-10, each normalised behind its ReLU, and three linear layers."""
    layers: list[nn.Module] = []
    widths = [3, 64, 64, 128, 128, 64, 64]
    for number, (before, behind) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers += [nn.Conv2d(before, behind, 3), nn.ReLU(), nn.BatchNorm2d(behind, eps=1e-3)]
        layers += [nn.MaxPool2d(2)] if number in (1, 3) else []
    head = [nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10), nn.ReLU()]
    return nn.Sequential(*layers, ChannelsLast(), *head)


class CascadeFilter(nn.Module):
    """One stage of a cascaded face detector: convolutions with learned slopes, then heads that share their features.

    Args:
        channels: of the feature maps, from the image on.
        kernels: of the convolutions.
        pools: kernel of the pooling behind each convolution; 0 for none. All have stride 2.
        hidden: inputs and outputs of the linear layer ahead of the heads; without it they are 1x1 convolutions.
        heads: outputs of each head; the first is a softmax over face or not.
    """

    def __init__(
        self,
        channels: list[int],
        kernels: list[int],
        pools: list[int],
        hidden: tuple[int, int] | None,
        heads: list[int],
    ) -> None:
        super().__init__()
        pairs = zip(channels[:-1], channels[1:], kernels, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair) for pair in pairs)
        self.slopes = nn.ModuleList(nn.PReLU(width) for width in channels[1:])
        self.pools = pools
        self.hidden = nn.Sequential(nn.Linear(*hidden), nn.PReLU(hidden[1])) if hidden else None
        kind = nn.Linear if hidden else lambda width, outputs: nn.Conv2d(width, outputs, 1)
        self.heads = nn.ModuleList(kind(hidden[1] if hidden else channels[-1], outputs) for outputs in heads)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for convolution, slope, pool in zip(self.convolutions, self.slopes, self.pools, strict=True):
            x = slope(convolution(x))
            x = F.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
        if self.hidden is not None:
            # The weights come from a library that stores maps as width, height, channel.
            x = self.hidden(x.permute(0, 3, 2, 1).flatten(1))
        face, *others = (head(x) for head in self.heads)
        return torch.softmax(face, 1), *others


class PitchTracker(nn.Module):
    """CREPE: six convolutions over a window of sound, each normalised behind its ReLU, and 360 bins of pitch."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        shapes = [(512, 4, (254, 254)), *[(64, 1, (31, 32))] * 5]
        pairs = list(zip(widths[:-1], widths[1:], shapes, strict=True))
        self.pads = [pad for _, _, pad in shapes]
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, kernel, stride) for a, b, (kernel, stride, _) in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, eps=0.0010000000474974513) for width in widths[1:])
        self.head = nn.Linear(4 * widths[-1], 360)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        for pad, convolution, norm in zip(self.pads, self.convolutions, self.norms, strict=True):
            x = F.max_pool1d(norm(F.relu(convolution(F.pad(x, pad)))), 2)
        return torch.sigmoid(self.head(x.transpose(1, 2).flatten(1)))


class SpeechDetector(nn.Module):
    """PulseVAD: depthwise and pointwise convolutions over a spectrogram, with one residual block.

    Args:
        pointwise: makes a convolution of kernel 1, normalised or not, from its widths.
        widths: of the adapter, behind the first pair of convolutions, in the blocks, and behind them.
    """

    def __init__(self, pointwise: Callable[[int, int], nn.Module], widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, second, block, last = widths
        self.adapter, self.conv0_pw = pointwise(64, first), pointwise(first, second)
        self.conv0_dw = nn.Conv1d(first, first, 11, padding=5, groups=first, bias=False)
        self.block1, self.block2 = pointwise(second, block), pointwise(block, block)
        self.subA_dw = nn.Conv1d(block, block, 17, padding=8, groups=block, bias=False)
        self.subC_dw = nn.Conv1d(block, block, 17, padding=8, groups=block, bias=False)
        self.subA_pw, self.subC_pw, self.skip = (pointwise(block, block) for _ in range(3))
        self.conv4_dw = nn.Conv1d(block, block, 29, padding=28, dilation=2, groups=block, bias=False)
        self.conv4_pw, self.conv5 = pointwise(block, last), pointwise(last, last)
        self.classifier = nn.Linear(last, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv0_pw(self.conv0_dw(F.relu(self.adapter(x)))))
        x = F.relu(self.block2(F.relu(self.block1(x))))
        inner = F.relu(self.subA_pw(self.subA_dw(x)))
        x = F.relu(self.subC_pw(self.subC_dw(inner)) + self.skip(x))
        x = F.relu(self.conv5(F.relu(self.conv4_pw(self.conv4_dw(x)))))
        return self.classifier(F.adaptive_avg_pool1d(x, 1).squeeze(-1))


class PeptideScorer(nn.Module):
    """An LSTM over the amino acids of a peptide and two linear layers on its last state.

    The gates of torch's LSTM are sigmoids; those that the weights were trained with may have been piecewise linear.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(21, 64, batch_first=True)
        self.hidden, self.head = nn.Linear(64, 64), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        return torch.sigmoid(self.head(torch.tanh(self.hidden(states[:, -1]))))
