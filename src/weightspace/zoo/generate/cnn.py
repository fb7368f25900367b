r"""Zoos of small CNNs that tell images apart, many trained side by side, each with hyper-parameters of its own.

Three 3 x 3 convolutions of stride 2, the mean over all positions and a dense layer, as in the Small CNN Zoo, on grey
images of 32 x 32. Every random draw is keyed by the seed and the network's number, so neither chunks nor threads change
what a network is given. Networks take different numbers of steps: where one ends, the next one takes its place.

References:
    Unterthiner, Keysers, Gelly, Bousquet, Tolstikhin, *Predicting Neural Network Accuracy from Weights*, 2020. From its
    published training program: the architecture, the L2 penalty of kernels, dropout after every convolution, pixels
    from -1 to 1. The choices of initialisation, optimiser and training fraction, and the ends of all ranges but that of
    the steps, are those of the columns of its table, as google-research/approxnn lists them (2022). Other than there,
    sgd has a momentum, a batch is 32 images and not 512, and networks take hundreds of steps, not thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from weightspace.errors import DataError, TrainingError, unknown
from weightspace.spec import NetworkSpec, spec_of
from weightspace.zoo.generate.chunk import blocks
from weightspace.zoo.generate.convolution import CHANNELS, SIDE, Passes, layers, packing
from weightspace.zoo.generate.draw import INITS, OPTIMISERS, batches, check_range, log_uniform, normal_matrix, stream
from weightspace.zoo.generate.group import Group, Member
from weightspace.zoo.generate.pixels import Pixels
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side

__all__ = [
    "CnnSettings",
    "Hyper",
    "Trained",
    "cnn",
    "cnn_spec",
    "evaluate",
    "forward_pass",
    "hyper",
    "initial_weights",
    "member",
    "state_of",
    "train_cnns",
]

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
_RATES = 256
_SHOWN = 50


@dataclass(frozen=True)
class CnnSettings:
    """How CNNs are trained. Ranges are those that each network draws from.

    Args:
        activation: relu or tanh, of all networks of the zoo.
        steps: optimiser steps, drawn log-uniformly.
        batch: images in a step.
        images: training images that a fraction of 1 stands for; fewer where the data set has fewer.
        learning_rate: drawn log-uniformly.
        weight_decay: factor of the squared norm of all kernels in the loss, drawn log-uniformly.
        dropout: share of the values after each convolution that are dropped in a step, drawn uniformly in steps of
            1/256.
        init_std: standard deviation of the inits normal and truncated_normal, drawn log-uniformly.
        fractions: shares of the training images, one of which a network is given.
        inits: how first weights are drawn; biases start at zero.
        optimisers: adam, sgd (with a momentum of 0.9), rmsprop.
        checkpoints: shares of a network's steps after which it is kept; the last one is 1.
        evaluated: images that accuracies and losses are told on, for training and held-out images each.
        seed: key of all draws, from 0 to 2^63 - 1.
        chunk: networks that one thread trains side by side; a matter of speed alone.

    Raises:
        TrainingError: a number out of its range.
        UnknownNameError: an activation, an initialisation or an optimiser that does not exist.

    Example:
        >>> CnnSettings(steps=(50, 50)).activation
        'relu'
    """

    activation: str = "relu"
    steps: tuple[int, int] = (300, 1200)
    batch: int = 32
    images: int = 10_000
    learning_rate: tuple[float, float] = (5e-4, 5e-2)
    weight_decay: tuple[float, float] = (1e-8, 1e-2)
    dropout: tuple[float, float] = (0.0, 0.7)
    init_std: tuple[float, float] = (1e-3, 0.5)
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    inits: tuple[str, ...] = INITS
    optimisers: tuple[str, ...] = OPTIMISERS
    checkpoints: tuple[float, ...] = (0.1, 0.3, 1.0)
    evaluated: int = 2000
    seed: int = 0
    chunk: int = 8

    def __post_init__(self) -> None:
        for name in ("batch", "images", "evaluated", "chunk"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; expected at least 1.")
        check_range("steps", self.steps, 1, 1e9)
        for name, high in (("learning_rate", 1e30), ("weight_decay", 1e30), ("init_std", 1e30)):
            check_range(name, getattr(self, name), 0, high, above=True)
        check_range("dropout", self.dropout, 0, (_RATES - 1) / _RATES)
        if not 0 <= self.seed < 2**63:
            raise TrainingError(f"seed is {self.seed}; expected 0 to 2^63 - 1.")
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise TrainingError(f"fractions are {self.fractions}; expected shares above 0 up to 1.")
        shares = self.checkpoints
        if (
            not shares
            or shares[0] < 0
            or shares[-1] != 1
            or not all(a < b for a, b in zip(shares, shares[1:], strict=False))
        ):
            raise TrainingError(f"checkpoints are {shares}; expected shares from 0 in ascending order, the last one 1.")
        self._check_names()

    def _check_names(self) -> None:
        chosen = (("activation", (self.activation,), ACTIVATIONS), ("initialisation", self.inits, INITS))
        for kind, names, valid in (*chosen, ("optimiser", self.optimisers, OPTIMISERS)):
            if not names:
                raise TrainingError(f"no {kind} is given; expected at least one of {', '.join(valid)}.")
            for name in names:
                if name not in valid:
                    raise unknown(kind, name, valid)


@dataclass(frozen=True)
class Hyper:
    """The hyper-parameters of one network, named as in :class:`CnnSettings`.

    All are drawn for every network, though ``init_std`` counts for two of the inits only.
    """

    learning_rate: float
    weight_decay: float
    dropout: float
    init: str
    init_std: float
    train_fraction: float
    optimiser: str
    steps: int


@dataclass(frozen=True, eq=False)
class Trained:
    """Networks at their checkpoints.

    Shapes:
        weights: ``(network, checkpoint, parameter)``, in the order of the state dict; steps: ``(network, checkpoint)``,
        int64; diverged: ``(network, checkpoint)``, bool; images: ``(network, image)``, int64.

    Args:
        weights: at each checkpoint, or the last finite ones where a network diverged before it.
        steps: that led to these weights.
        diverged: whether the network diverged before the checkpoint.
        images: some of those that each network learnt from.
    """

    weights: Tensor
    steps: Tensor
    diverged: Tensor
    images: Tensor


def cnn(settings: CnnSettings, classes: int = 10) -> nn.Sequential:
    """The architecture as a torch module, freshly initialised by torch; a template for specs and modules.

    Dropout has no part in it: it is off where a network is asked.

    Args:
        settings: its ``activation`` counts.
        classes: outputs.

    Symmetry:
        the channels of each convolution may be permuted; scaled by positive numbers for relu, by signs for tanh.

    Example:
        >>> sum(parameter.numel() for parameter in cnn(CnnSettings()).parameters())
        4970
    """
    parts: list[nn.Module] = []
    for below in (1, CHANNELS, CHANNELS):
        parts += [nn.Conv2d(below, CHANNELS, 3, stride=2), ACTIVATIONS[settings.activation]()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, classes))


def cnn_spec(settings: CnnSettings, classes: int = 10) -> NetworkSpec:
    """The weight space of the networks.

    Example:
        >>> [str(axis.symmetry) for axis in cnn_spec(CnnSettings(activation="tanh")).free_axes]
        ['SIGN', 'SIGN', 'SIGN']
    """
    return spec_of(cnn(settings, classes).eval(), torch.zeros(1, 1, SIDE, SIDE))


def state_of(flat: Tensor, settings: CnnSettings, classes: int = 10) -> dict[str, Tensor]:
    """Flat weights as a stacked state dict of :func:`cnn`.

    Shapes:
        flat: ``(n, parameters)``; result: ``(n, *shape)`` per key.

    Example:
        >>> state_of(torch.zeros(3, 4970), CnnSettings())["8.weight"].shape
        torch.Size([3, 10, 16])
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in cnn(settings, classes).state_dict().items()}
    return dict(zip(shapes, blocks(flat, shapes), strict=True))


def forward_pass(settings: CnnSettings) -> dict[str, Any]:
    """Everything beside the weights that turns an image into logits, as a zoo's manifest records it.

    Example:
        >>> forward_pass(CnnSettings())["pixel_range"]
        [-1.0, 1.0]
    """
    return {
        "layers": f"{settings.activation}(conv 3x3, stride 2, no padding) three times, mean over positions, W x + b",
        "input": "grey, 1 x 32 x 32, resized bilinearly with antialiasing, rounded to 256 levels",
        "pixel_range": [-1.0, 1.0],
        "output": "logits",
    }


def hyper(settings: CnnSettings, number: int) -> Hyper:
    """The hyper-parameters of one network.

    Example:
        >>> 5e-4 <= hyper(CnnSettings(), 3).learning_rate <= 5e-2
        True
    """
    chance = stream(settings.seed, number, "hyper-parameters")
    rate, decay, deviation = (
        log_uniform(chance, ends) for ends in (settings.learning_rate, settings.weight_decay, settings.init_std)
    )
    low, high = (round(end * _RATES) for end in settings.dropout)
    first, last = settings.steps
    return Hyper(
        learning_rate=rate,
        weight_decay=decay,
        init_std=deviation,
        dropout=int(chance.integers(low, high + 1)) / _RATES,
        steps=min(last, max(first, round(log_uniform(chance, settings.steps)))),
        train_fraction=settings.fractions[chance.integers(len(settings.fractions))],
        init=settings.inits[chance.integers(len(settings.inits))],
        optimiser=settings.optimisers[chance.integers(len(settings.optimisers))],
    )


def initial_weights(settings: CnnSettings, number: int, classes: int = 10) -> Tensor:
    """First weights of one network, as a flat vector in the order of the state dict.

    Shapes:
        result: ``(parameters,)``, float32.

    Example:
        >>> initial_weights(CnnSettings(), 0).shape
        torch.Size([4970])
    """
    chance, drawn = stream(settings.seed, number, "weights"), hyper(settings, number)
    parts = []
    for name, parameter in cnn(settings, classes).state_dict().items():
        shape = tuple(parameter.shape)
        matrix = (
            normal_matrix(chance, drawn.init, shape, drawn.init_std) if name.endswith("weight") else np.zeros(shape)
        )
        parts.append(matrix.ravel())
    return torch.from_numpy(np.concatenate(parts)).float()


def train_cnns(
    data: Pixels,
    numbers: Tensor,
    settings: CnnSettings,
    *,
    classes: int = 10,
    progress: Callable[[int], None] | None = None,
) -> Trained:
    """Networks trained by their own hyper-parameters, kept at their checkpoints.

    Uses as many threads as ``torch.get_num_threads()``, each with a chunk of its own; torch is held to one thread per
    operation meanwhile. Threads, chunks and the other networks of a call change a network by rounding only; hundreds of
    steps can magnify that.

    Shapes:
        numbers: ``(n,)``.

    Args:
        data: the training images.
        numbers: the networks' numbers, not negative: what all of their draws are keyed by.
        settings: of the training.
        classes: of the images.
        progress: called with the number of networks that have just been finished.

    Raises:
        DataError: no networks, a negative number, or fewer images than a batch.

    Example:
        >>> from weightspace.zoo.generate.pixels import prepare
        >>> data = prepare(np.zeros((40, 8, 8), np.uint8), np.arange(40) % 10)
        >>> train_cnns(data, torch.arange(2), CnnSettings(steps=(3, 3), batch=4)).weights.shape
        torch.Size([2, 3, 4970])
    """
    if not len(numbers) or int(numbers.min()) < 0:
        raise DataError(f"numbers are {numbers.tolist()}; expected at least one network, none negative.")
    if len(data) < settings.batch:
        raise DataError(f"{len(data)} images are fewer than a batch of {settings.batch}. Remedy: lower the batch.")
    with one_thread_per_operation() as threads:
        parts = [part for part in (numbers[at::threads].tolist() for at in range(threads)) if part]
        work = partial(_train_part, settings, data, classes, progress)
        ended = {one.number: one for part in side_by_side(work, parts, threads=threads) for one in part}
    shown = min(settings.evaluated, _own(len(data), min(settings.fractions), settings.batch))
    return _collected([ended[number] for number in numbers.tolist()], shown, packing(CHANNELS, classes))


def evaluate(
    weights: Tensor, data: Pixels, rows: Tensor, settings: CnnSettings, *, classes: int = 10
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy of networks, each on images of its own choice.

    Shapes:
        weights: ``(n, parameters)``, in the order of the state dict; rows: ``(n, images)``; results: ``(n,)``.

    Args:
        weights: of the networks.
        data: images.
        rows: which of them each network is shown.
        settings: its ``activation`` and ``chunk`` count.
        classes: of the images.

    Example:
        >>> from weightspace.zoo.generate.pixels import prepare
        >>> data = prepare(np.zeros((10, 8, 8), np.uint8), np.arange(10))
        >>> loss, accuracy = evaluate(torch.zeros(1, 4970), data, torch.arange(10)[None], CnnSettings())
        >>> round(loss.item(), 4), round(accuracy.item(), 4)
        (2.3026, 0.1)
    """
    packed = weights.detach()[:, packing(CHANNELS, classes)]
    with one_thread_per_operation() as threads:
        parts = list(zip(packed.split(settings.chunk), rows.split(settings.chunk), strict=True))
        work = partial(_evaluate_part, settings, data, classes)
        told = list(side_by_side(work, parts, threads=threads))
    loss, accuracy = (torch.cat(column) for column in zip(*told, strict=True))
    return loss, accuracy


def _own(images: int, fraction: float, batch: int) -> int:
    """How many images a network learns from: at least one batch."""
    return max(batch, round(fraction * images))


def member(settings: CnnSettings, images: int, classes: int, number: int) -> Member:
    """One network before its first step."""
    drawn, chance = hyper(settings, number), stream(settings.seed, number, "batches")
    own = chance.permutation(images)[: _own(images, drawn.train_fraction, settings.batch)]
    marks = [round(share * drawn.steps) for share in settings.checkpoints]
    return Member(
        number=number,
        weights=initial_weights(settings, number, classes)[packing(CHANNELS, classes)],
        rate=drawn.learning_rate,
        decay=drawn.weight_decay,
        optimiser=drawn.optimiser,
        dropped=round(drawn.dropout * _RATES),
        images=torch.from_numpy(own),
        order=batches(chance, own, drawn.steps, settings.batch),
        chance=stream(settings.seed, number, "dropout"),
        marks=marks,
    )


def _train_part(
    settings: CnnSettings,
    data: Pixels,
    classes: int,
    progress: Callable[[int], None] | None,
    stop: Event,
    numbers: list[int],
) -> list[Member]:
    """Trains one thread's networks; where one ends, the next takes its place."""
    waiting: list[Callable[[], Member]] = [
        partial(member, settings, len(data), classes, number) for number in reversed(numbers)
    ]
    group = Group(data, settings.activation, settings.batch, classes)
    ended: list[Member] = []
    group.fill(waiting, settings.chunk)
    while group.members and not stop.is_set():
        over = group.advance()
        group.fill(waiting, settings.chunk)
        ended += over
        if progress is not None and over:
            progress(len(over))
    return ended


def _collected(members: list[Member], shown: int, order: Tensor) -> Trained:
    """What was kept of each network, in the order of the state dict."""
    weights = torch.stack([torch.stack(member.kept) for member in members])
    return Trained(
        weights=weights[..., order.argsort()],
        steps=torch.tensor([member.steps for member in members]),
        diverged=torch.tensor([member.lost for member in members]),
        images=torch.stack([member.images[:shown] for member in members]),
    )


def _evaluate_part(
    settings: CnnSettings, data: Pixels, classes: int, stop: Event, part: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    packed, rows = part
    views, losses, right = layers(packed, CHANNELS, classes), [], []
    room: dict[int, Passes] = {}
    for batch in rows.split(_SHOWN, 1):
        if stop.is_set():
            break
        networks, images = batch.shape
        if images not in room:
            room[images] = Passes(networks, images, CHANNELS, classes, settings.activation, packed)
        labels = data.gather(batch, room[images])
        logits = room[images].forward(views)
        losses.append(functional.cross_entropy(logits.mT, labels, reduction="none"))
        right.append(logits.argmax(2) == labels)
    return torch.cat(losses, 1).mean(1), torch.cat(right, 1).float().mean(1)
