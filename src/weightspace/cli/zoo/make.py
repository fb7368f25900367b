"""``weightspace zoo make``: networks that hold images, that tell images or numbers apart, that act; smoke plumes."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from weightspace.cli.zoo.order import Order, Source, carry_out, note, say, under_bar
from weightspace.cli.zoo.plume import plume
from weightspace.cli.zoo.policy import policy
from weightspace.errors import TrainingError
from weightspace.zoo.generate import (
    CnnSettings,
    InrSettings,
    MlpSettings,
    Regime,
    SdfSettings,
    SirenSettings,
    TransformerSettings,
    WildSettings,
    digits_zoo,
    make_cnn_zoo,
    make_inr_zoo,
    make_mixed_zoos,
    make_sdf_zoo,
    make_siren_zoo,
    make_wild_zoos,
)
from weightspace.zoo.generate.classifier import Architecture, classifier_task
from weightspace.zoo.generate.cnn_collection import MIXED, WildRegime
from weightspace.zoo.generate.digits import COUNT, digits_folder
from weightspace.zoo.generate.estimate import (
    cnn_estimate,
    inr_estimate,
    mixed_estimate,
    sdf_estimate,
    siren_estimate,
    task_estimate,
    wild_estimate,
)
from weightspace.zoo.generate.fit import fit_task
from weightspace.zoo.tabular import Table, load_table

__all__ = ["cnn", "digits", "inr", "make", "mixed", "mlp", "sdf", "siren", "transformer", "wild"]

Ordered = Annotated[Order, Parameter(name="*")]
Sourced = Annotated[Source, Parameter(name="*")]

make = App(name="make")
make.command(plume)
make.command(policy)


@make.default
def siren(
    *,
    order: Ordered,
    source: Sourced = Source(),  # noqa: B008 - frozen
    count: int | None = None,
    settings: Annotated[SirenSettings, Parameter(name="*")] = SirenSettings(),  # noqa: B008 - frozen
) -> None:
    """Fit one SIREN per image, many side by side, into a zoo; go on with the one that is there.

    Args:
        order: of the zoo.
        source: of the images.
        count: networks in all; 2,000 if left out, or one for every view of every picture of your own. A later call may
            ask for more: those that are there are kept.
        settings: of the fitting.
    """
    images, count = source.pictures(count, settings.views)
    ask = partial(siren_estimate, images, settings, count=count)
    fit = partial(make_siren_zoo, images=images, settings=settings, count=count, seed=settings.seed)
    note(order, images)
    carry_out(order, f"Fitting {images.name}", count, ask, fit)


@make.command
def inr(
    *,
    order: Ordered,
    source: Sourced = Source(),  # noqa: B008 - frozen
    count: int | None = None,
    settings: Annotated[InrSettings, Parameter(name="*")] = InrSettings(),  # noqa: B008 - frozen
) -> None:
    """Fit one ReLU network per image, on plain or encoded coordinates, into a zoo; go on with the one that is there.

    Args:
        order: of the zoo.
        source: of the images.
        count: networks in all; 2,000 if left out, or one for every view of every picture of your own.
        settings: of the fitting.
    """
    images, count = source.pictures(count, settings.views)
    ask = partial(inr_estimate, images, settings, count=count)
    fit = partial(make_inr_zoo, images=images, settings=settings, count=count, seed=settings.seed)
    note(order, images)
    carry_out(order, f"Fitting {images.name}", count, ask, fit)


@make.command
def sdf(
    *,
    order: Ordered,
    count: int = 1000,
    settings: Annotated[SdfSettings, Parameter(name="*")] = SdfSettings(),  # noqa: B008 - frozen
) -> None:
    """Fit one network to the signed distances of each of many shapes, into a zoo; go on with the one that is there.

    Shapes are spheres, boxes, tori, capsules and unions of two, of random pose and size; the family is the label.

    Args:
        order: of the zoo.
        count: networks in all. A later call may ask for more: those that are there are kept.
        settings: of the fitting.
    """
    ask = partial(sdf_estimate, settings, count=count)
    carry_out(order, "Fitting shapes", count, ask, partial(make_sdf_zoo, settings=settings, count=count))


@make.command
def digits(*, out: Path | None = None, dtype: str = "float32") -> None:
    """Make the small zoo of digits that examples run on: 1,797 SIRENs in seconds, without a download.

    Args:
        out: folder of the zoo; in the cache if left out, where `weightspace.zoo.digits_zoo()` finds it.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16).
    """
    folder = digits_folder(dtype) if out is None else out
    say(under_bar("Fitting digits", COUNT, lambda progress: digits_zoo(folder, progress=progress, dtype=dtype)))


@make.command
def cnn(
    *,
    order: Ordered,
    source: Sourced = Source(),  # noqa: B008 - frozen
    count: int = 1000,
    settings: Annotated[CnnSettings, Parameter(name="*")] = CnnSettings(),  # noqa: B008 - frozen
) -> None:
    """Train small CNNs that tell images apart, many side by side, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        order: of the zoo.
        source: of the images.
        count: networks in all. A later call may ask for more: those that are there are kept.
        settings: of the training.
    """
    images = source.images()
    ask = partial(cnn_estimate, images, settings, count=count)
    train = partial(make_cnn_zoo, images=images, settings=settings, count=count, seed=settings.seed)
    note(order, images)
    carry_out(order, f"Training on {images.name}", count, ask, train)


@make.command
def mixed(
    *,
    order: Ordered,
    source: Sourced = Source(),  # noqa: B008 - frozen
    count: int = 1000,
    activations: tuple[str, ...] = MIXED,
    settings: Annotated[CnnSettings, Parameter(name="*")] = CnnSettings(),  # noqa: B008 - frozen
) -> None:
    """Train small CNNs with one of several activations each, into a folder with a zoo for each activation.

    Args:
        order: of the zoos.
        source: of the images.
        count: networks in all, dealt out to the activations in turn.
        activations: one or more of relu and tanh.
        settings: of the training.
    """
    if settings.activation != CnnSettings().activation:
        raise TrainingError(f"activation is {settings.activation}; a mixed zoo takes --activations.")
    images = source.images()
    ask = partial(mixed_estimate, images, settings, count=count, activations=activations)
    train = partial(
        make_mixed_zoos, images=images, settings=settings, count=count, seed=settings.seed, activations=activations
    )
    note(order, images)
    carry_out(order, f"Training on {images.name}", count, ask, train)


@make.command
def wild(
    *,
    order: Ordered,
    source: Sourced = Source(),  # noqa: B008 - frozen
    count: int = 1000,
    architecture: Annotated[WildSettings, Parameter(name="*")] = WildSettings(),  # noqa: B008 - frozen
    settings: Annotated[WildRegime, Parameter(name="*")] = WildRegime(),  # noqa: B008 - frozen
) -> None:
    """Train CNNs of many architectures, side by side within each, into a folder with a zoo for each architecture.

    Args:
        order: of the zoos.
        source: of the images.
        count: networks in all, dealt out to the architectures in turn.
        architecture: which there may be.
        settings: of the training.
    """
    images = source.images()
    ask = partial(wild_estimate, images, architecture, settings, count=count)
    train = partial(make_wild_zoos, images=images, settings=architecture, regime=settings, count=count)
    note(order, images)
    carry_out(order, f"Training on {images.name}", count, ask, train)


@make.command
def mlp(
    *,
    order: Ordered,
    data: str = "digits",
    count: int = 1000,
    architecture: Annotated[MlpSettings, Parameter(name="*")] = MlpSettings(),  # noqa: B008 - frozen
    settings: Annotated[Regime, Parameter(name="*")] = Regime(),  # noqa: B008 - frozen
) -> None:
    """Train perceptrons on rows of numbers, many side by side, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        order: of the zoo.
        data: digits, wine or breast-cancer; all come with scikit-learn and need no download.
        count: networks in all. A later call may ask for more: those that are there are kept.
        architecture: of the networks.
        settings: of the training.
    """
    _classifiers(order, load_table(data), architecture, settings, count)


@make.command
def transformer(
    *,
    order: Ordered,
    count: int = 1000,
    architecture: Annotated[TransformerSettings, Parameter(name="*")] = TransformerSettings(),  # noqa: B008 - frozen
    settings: Annotated[Regime, Parameter(name="*")] = Regime(),  # noqa: B008 - frozen
) -> None:
    """Train small transformers on digits, a row of pixels a token, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        order: of the zoo.
        count: networks in all. A later call may ask for more: those that are there are kept.
        architecture: of the networks.
        settings: of the training.
    """
    _classifiers(order, load_table("digits"), architecture, settings, count)


def _classifiers(order: Order, table: Table, architecture: Architecture, settings: Regime, count: int) -> None:
    task = classifier_task(table, architecture, settings, count=count)
    carry_out(order, f"Training on {table.name}", count, partial(task_estimate, task), partial(fit_task, task))
