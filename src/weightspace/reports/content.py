"""What a report shows, as plain numbers, names and arrays.

Nothing here knows a network, a model or a tensor: the caller measures, and hands over what was measured. Every part
may be missing, since a run may have been interrupted; the page then says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from weightspace.errors import ShapeError

__all__ = ["Curve", "DemoReport", "DigitGallery", "ModelRow", "Numbers", "Orbit", "Pattern", "confusion_matrix"]

Numbers = np.ndarray | Sequence[float | int | None]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ShapeError(message)


def _is_picture_batch(images: np.ndarray) -> bool:
    return images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (3, 4))


@dataclass(frozen=True)
class ModelRow:
    """One line of the table: a model and what was measured of it.

    A value that was not measured is None, and shows as a dash.

    Args:
        model: the name, the same here, in the curves and in the confusion matrices.
        accuracy: share of test networks classified correctly, in [0, 1].
        accuracy_after: the same share after every test network was replaced by an equivalent one.
        parameters: number of trained parameters.
        seconds: seconds of training.
        logit_change: relative change of the logits under that replacement, ``|after - before| / |before|``.
        answers_changed: share of test networks whose most probable class changed under it, in [0, 1].

    Example:
        >>> ModelRow("NP", accuracy=0.31, parameters=120_000).seconds is None
        True
    """

    model: str
    accuracy: float | None = None
    accuracy_after: float | None = None
    parameters: int | None = None
    seconds: float | None = None
    logit_change: float | None = None
    answers_changed: float | None = None

    @property
    def measured(self) -> tuple[float, float] | None:
        """Both accuracies, before and after; None unless both were measured."""
        if self.accuracy is None or self.accuracy_after is None:
            return None
        return self.accuracy, self.accuracy_after


@dataclass(frozen=True, eq=False)
class DigitGallery:
    """Pictures beside what the networks fitted to them draw.

    Shapes:
        originals, rendered: ``(count, height, width)`` or ``(count, height, width, 3)``; uint8, or floats in [0, 1].

    Args:
        originals: the pictures that the networks were fitted to.
        rendered: the pictures drawn from the networks' weights.
        labels: what each picture shows.
        psnr: peak signal-to-noise ratio of each rendered picture, in dB.
        mean_psnr: the mean over the whole zoo, in dB; None leaves it out.

    Raises:
        ShapeError: the parts do not belong together.

    Example:
        >>> pictures = np.zeros((2, 8, 8), dtype=np.uint8)
        >>> DigitGallery(pictures, pictures, ("3", "7"), (35.1, 36.0)).labels
        ('3', '7')
    """

    originals: np.ndarray
    rendered: np.ndarray
    labels: Sequence[str]
    psnr: Numbers
    mean_psnr: float | None = None

    def __post_init__(self) -> None:
        shapes = f"originals {self.originals.shape}, rendered {self.rendered.shape}"
        _require(
            _is_picture_batch(self.originals) and self.originals.shape == self.rendered.shape,
            f"a gallery has {shapes}; expected two equal shapes (count, height, width) or (count, height, width, 3)",
        )
        count = len(self.originals)
        _require(
            len(self.labels) == count and len(self.psnr) == count,
            f"a gallery of {count} pictures has {len(self.labels)} labels and {len(self.psnr)} PSNR values; "
            "give one of each per picture",
        )


@dataclass(frozen=True, eq=False)
class Curve:
    """How one model learned.

    Shapes:
        all arrays ``(points,)``; NaN (or None) where a quantity was not measured at that point.

    Args:
        model: the name, as in :class:`ModelRow`.
        steps: optimisation steps taken.
        seconds: seconds of training passed.
        train_loss: loss on training batches.
        accuracy: share of validation networks classified correctly, in [0, 1].

    Raises:
        ShapeError: the arrays differ in length.

    Example:
        >>> curve = Curve("NP", steps=[0, 10], seconds=[0.0, 1.5], train_loss=[2.3, 1.9], accuracy=[None, 0.2])
        >>> curve.accuracy
        array([nan, 0.2])
    """

    model: str
    steps: Numbers
    seconds: Numbers
    train_loss: Numbers
    accuracy: Numbers

    def __post_init__(self) -> None:
        # A frozen class can set its own fields only this way; None becomes NaN on the road.
        columns = {name: getattr(self, name) for name in ("steps", "seconds", "train_loss", "accuracy")}
        for name, values in columns.items():
            object.__setattr__(self, name, np.asarray(values, dtype=np.float64).reshape(-1))
        lengths = [len(values) for values in columns.values()]
        _require(
            len(set(lengths)) == 1,
            f"the curve of {self.model!r} has {lengths[0]} steps, {lengths[1]} seconds, {lengths[2]} losses and "
            f"{lengths[3]} accuracies; give arrays of one length, with NaN where nothing was measured",
        )


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which entries of a layer's dense matrix share a parameter.

    Shapes:
        matrix: ``(rows, columns)`` integers: the number (from 1) of the tied parameter; 0 for an entry that symmetry
        forces to zero; ``-k`` where the entry is minus parameter ``k``.

    Args:
        title: which layer this is.
        matrix: the pattern; rows are outputs, columns inputs.
        row_blocks: names and sizes of the parameters that the rows run through, in order.
        column_blocks: the same for the columns.
        parameters: how many free parameters the layer has; None counts the distinct ones of the matrix.

    Raises:
        ShapeError: the blocks do not fill the matrix, or the matrix does not hold integers.

    Example:
        >>> Pattern("tied", np.array([[1, 2], [-2, 0]]), (("a", 2),), (("a", 2),)).count
        2
    """

    title: str
    matrix: np.ndarray
    row_blocks: Sequence[tuple[str, int]]
    column_blocks: Sequence[tuple[str, int]]
    parameters: int | None = None

    def __post_init__(self) -> None:
        _require(
            self.matrix.ndim == 2 and np.issubdtype(self.matrix.dtype, np.integer),
            f"the pattern {self.title!r} has shape {self.matrix.shape} and type {self.matrix.dtype}; "
            "expected a matrix of integers",
        )
        filled = tuple(sum(size for _, size in blocks) for blocks in (self.row_blocks, self.column_blocks))
        _require(
            filled == self.matrix.shape,
            f"the blocks of the pattern {self.title!r} fill {filled}, its matrix is {self.matrix.shape}; "
            "the block sizes must add up to the rows and columns",
        )

    @property
    def count(self) -> int:
        """How many free parameters the layer has."""
        if self.parameters is not None:
            return self.parameters
        return len(np.setdiff1d(np.abs(self.matrix), [0]))

    @property
    def filled(self) -> float:
        """Share of the matrix that is not structurally zero, in [0, 1]."""
        return float(np.count_nonzero(self.matrix) / max(self.matrix.size, 1))


@dataclass(frozen=True, eq=False)
class Orbit:
    """A walk through equivalent networks: one weight matrix and the picture that the whole network draws.

    Shapes:
        weights: ``(frames, rows, columns)``;
        images: ``(frames, height, width)`` or ``(frames, height, width, 3)``, floats in [0, 1] or uint8.

    Args:
        weights: the weight matrix at each step of the walk; frame 0 is the network as it was fitted.
        images: the picture drawn by the network at that step.
        moves: what was done to reach each frame; the first entry describes the start.
        pixel_change: largest absolute difference of a pixel from frame 0, at each frame, where a pixel is in [0, 1].
        name: how the weight matrix is called.
        explanation: a sentence or two of what the moves do to a network.

    Raises:
        ShapeError: the parts differ in the number of frames, or there are none.

    Example:
        >>> weights, images = np.zeros((2, 4, 4)), np.zeros((2, 8, 8))
        >>> len(Orbit(weights, images, ("as fitted", "units 1 and 2 change places"), (0.0, 1e-7)))
        2
    """

    weights: np.ndarray
    images: np.ndarray
    moves: Sequence[str]
    pixel_change: Numbers
    name: str = "W2"
    explanation: str = (
        "Hidden units may change places, and their signs may flip, as long as the weights on both sides follow. "
        "At every step the weights are other numbers, and the network is still the same function."
    )

    def __post_init__(self) -> None:
        _require(
            self.weights.ndim == 3 and _is_picture_batch(self.images),
            f"an orbit has weights {self.weights.shape} and images {self.images.shape}; "
            "expected (frames, rows, columns) and (frames, height, width)",
        )
        counts = {len(part) for part in (self.weights, self.images, self.moves, self.pixel_change)}
        _require(
            len(counts) == 1 and counts != {0},
            f"an orbit has {len(self.weights)} weight matrices, {len(self.images)} images, {len(self.moves)} moves "
            f"and {len(self.pixel_change)} pixel changes; give one of each per frame, and at least one frame",
        )

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True, eq=False)
class DemoReport:
    """Everything that the page of one run shows; each part may be missing.

    Args:
        title: the heading.
        summary: one sentence of what was measured; empty writes one from the rows.
        rows: the table, one row per model; their order fixes each model's colour everywhere.
        tested: number of test networks behind every accuracy, for its 95 % interval; None draws no interval.
        classes: names of the classes in order; empty numbers them from 0.
        digits: pictures beside their renderings.
        curves: how each model learned.
        confusions: per model a matrix of counts, ``(classes, classes)``: row = truth, column = answer.
        patterns: the layer's tied entries, the sparse picture first.
        orbit: the walk through equivalent networks.
        stages: seconds spent per stage of the run.
        facts: groups of settings, seeds, versions, memory, checksums: title -> name -> text.
        notes: sentences that a reader must see first, such as "MNIST could not be had, these are other digits".

    Raises:
        ShapeError: a confusion matrix is not square, or does not fit the class names.

    Example:
        >>> DemoReport("Demo", rows=(ModelRow("NP", accuracy=0.3),)).missing[:2]
        ('digits rendered from weights', 'the walk along an orbit')
    """

    title: str
    summary: str = ""
    rows: Sequence[ModelRow] = ()
    tested: int | None = None
    classes: Sequence[str] = ()
    digits: DigitGallery | None = None
    curves: Sequence[Curve] = ()
    confusions: Mapping[str, np.ndarray] = field(default_factory=dict)
    patterns: Sequence[Pattern] = ()
    orbit: Orbit | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for model, counts in self.confusions.items():
            size = len(self.classes) or (len(counts) if counts.ndim else 0)
            _require(
                counts.shape == (size, size),
                f"the confusion matrix of {model!r} has shape {counts.shape}; expected {(size, size)}, "
                "one row and one column per class",
            )

    @property
    def models(self) -> tuple[str, ...]:
        """The names of all models, each once, in the order in which they first appear."""
        names = [row.model for row in self.rows] + [curve.model for curve in self.curves] + list(self.confusions)
        return tuple(dict.fromkeys(names))

    @property
    def missing(self) -> tuple[str, ...]:
        """What the record does not hold, in words."""
        parts = {
            "the table of models": bool(self.rows),
            "digits rendered from weights": self.digits is not None,
            "the walk along an orbit": self.orbit is not None,
            "test accuracy before and after the symmetry": any(row.measured for row in self.rows),
            "the layer's tied entries": bool(self.patterns),
            "learning curves": any(len(curve.steps) for curve in self.curves),
            "confusion matrices": bool(self.confusions),
            "times per stage": bool(self.stages),
            "settings and versions": bool(self.facts),
        }
        return tuple(name for name, present in parts.items() if not present)


def confusion_matrix(labels: Numbers, answers: Numbers, classes: int) -> np.ndarray:
    """How often each class was given each answer.

    Shapes:
        labels, answers: ``(count,)`` integers in ``[0, classes)``; returns ``(classes, classes)``, row = truth,
        column = answer.

    Args:
        labels: the true classes.
        answers: the classes that a model gave.
        classes: how many classes there are.

    Raises:
        ShapeError: labels and answers differ in number, or one lies outside the classes.

    Example:
        >>> confusion_matrix([0, 1, 1], [0, 0, 1], classes=2)
        array([[1, 0],
               [1, 1]])
    """
    truth, given = (np.asarray(values, dtype=np.int64).reshape(-1) for values in (labels, answers))
    _require(len(truth) == len(given), f"{len(truth)} labels and {len(given)} answers; give one answer per label")
    outside = [int(value) for value in np.concatenate([truth, given]) if not 0 <= value < classes]
    _require(not outside, f"class {outside[:1]} lies outside the {classes} classes; classes are numbered from 0")
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (truth, given), 1)
    return counts
