"""``weightspace zoo make``: networks that hold images, that tell images or numbers apart, that act; smoke plumes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import quality, size
from weightspace.cli.zoo.plan import tell
from weightspace.cli.zoo.plume import plume
from weightspace.cli.zoo.policy import policy
from weightspace.errors import TrainingError
from weightspace.zoo import Images, Zoo, load_images, load_pictures, write_card
from weightspace.zoo.generate import (
    CnnSettings,
    Engine,
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
from weightspace.zoo.generate.cnn_collection import MIXED, WILD_REGIME
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
from weightspace.zoo.generate.fit import Task, fit_task
from weightspace.zoo.sources import NAMES
from weightspace.zoo.tabular import Table, load_table

__all__ = ["cnn", "digits", "inr", "make", "mixed", "mlp", "sdf", "siren", "transformer", "wild"]

Made = TypeVar("Made")

make = App(name="make")
make.command(plume)
make.command(policy)


@make.default
def siren(
    *,
    out: Path,
    data: str = "mnist",
    count: int | None = None,
    folder: Path | None = None,
    offline: bool = False,
    plan: bool = False,
    settings: Annotated[SirenSettings, Parameter(name="*")] = SirenSettings(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Fit one SIREN per image, many side by side, into a zoo; go on with the one that is there.

    Args:
        out: folder of the zoo.
        data: whose images: mnist, fashion-mnist, cifar10, cifar10-gs (in grey), syndigits, syndigits-gs or
            syndigits-system (digits drawn over photographs), or digits (8 by 8, needs no download); or the path of a
            picture, or of a folder of pictures of one size.
        count: networks in all; 2,000 if left out, or one for every view of every picture of your own. A later call may
            ask for more: those that are there are kept.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        settings: of the fitting.
        engine: where its shards are made.
    """
    images, count = _pictured(data, count, settings.views, folder=folder, offline=offline)
    if plan:
        return tell(out, engine, partial(siren_estimate, images, settings, count=count))

    def fit(progress: Callable[[int], None]) -> Zoo:
        return make_siren_zoo(out, images, settings, count=count, seed=settings.seed, progress=progress, engine=engine)

    print(images.note)
    _made(out, f"Fitting {images.name}", count, fit)


@make.command
def inr(
    *,
    out: Path,
    data: str = "mnist",
    count: int | None = None,
    folder: Path | None = None,
    offline: bool = False,
    plan: bool = False,
    settings: Annotated[InrSettings, Parameter(name="*")] = InrSettings(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Fit one ReLU network per image, on plain or encoded coordinates, into a zoo; go on with the one that is there.

    Args:
        out: folder of the zoo.
        data: whose images, as for SIRENs.
        count: networks in all; 2,000 if left out, or one for every view of every picture of your own.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        settings: of the fitting.
        engine: where its shards are made.
    """
    images, count = _pictured(data, count, settings.views, folder=folder, offline=offline)
    if plan:
        return tell(out, engine, partial(inr_estimate, images, settings, count=count))

    def fit(progress: Callable[[int], None]) -> Zoo:
        return make_inr_zoo(out, images, settings, count=count, seed=settings.seed, progress=progress, engine=engine)

    print(images.note)
    _made(out, f"Fitting {images.name}", count, fit)


@make.command
def sdf(
    *,
    out: Path,
    count: int = 1000,
    plan: bool = False,
    settings: Annotated[SdfSettings, Parameter(name="*")] = SdfSettings(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Fit one network to the signed distances of each of many shapes, into a zoo; go on with the one that is there.

    Shapes are spheres, boxes, tori, capsules and unions of two, of random pose and size; the family is the label.

    Args:
        out: folder of the zoo.
        count: networks in all. A later call may ask for more: those that are there are kept.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        settings: of the fitting.
        engine: where its shards are made.
    """
    if plan:
        return tell(out, engine, partial(sdf_estimate, settings, count=count))

    def fit(progress: Callable[[int], None]) -> Zoo:
        return make_sdf_zoo(out, settings, count=count, progress=progress, engine=engine)

    _made(out, "Fitting shapes", count, fit)


@make.command
def digits(*, out: Path | None = None) -> None:
    """Make the small zoo of digits that examples run on: 1,797 SIRENs in seconds, without a download.

    Args:
        out: folder of the zoo; in the cache if left out, where `weightspace.zoo.digits_zoo()` finds it.
    """
    folder = digits_folder() if out is None else out
    _made(folder, "Fitting digits", COUNT, lambda progress: digits_zoo(folder, progress=progress))


@make.command
def cnn(
    *,
    out: Path,
    data: str = "mnist",
    count: int = 1000,
    folder: Path | None = None,
    offline: bool = False,
    plan: bool = False,
    settings: Annotated[CnnSettings, Parameter(name="*")] = CnnSettings(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Train small CNNs that tell images apart, many side by side, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        out: folder of the zoo.
        data: whose images, as for SIRENs, but for pictures of your own.
        count: networks in all. A later call may ask for more: those that are there are kept.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        settings: of the training.
        engine: where its shards are made.
    """
    images = load_images(data, folder=folder, offline=offline)
    if plan:
        return tell(out, engine, partial(cnn_estimate, images, settings, count=count))

    def train(progress: Callable[[int], None]) -> Zoo:
        return make_cnn_zoo(out, images, settings, count=count, seed=settings.seed, progress=progress, engine=engine)

    print(images.note)
    _made(out, f"Training on {images.name}", count, train)


@make.command
def mixed(
    *,
    out: Path,
    data: str = "mnist",
    count: int = 1000,
    activations: tuple[str, ...] = MIXED,
    folder: Path | None = None,
    offline: bool = False,
    plan: bool = False,
    settings: Annotated[CnnSettings, Parameter(name="*")] = CnnSettings(),  # noqa: B008 - frozen
) -> None:
    """Train small CNNs with one of several activations each, into a folder with a zoo for each activation.

    Args:
        out: folder of the zoos.
        data: whose images, as for CNNs.
        count: networks in all, dealt out to the activations in turn.
        activations: one or more of relu and tanh.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        settings: of the training.
    """
    if settings.activation != CnnSettings().activation:
        raise TrainingError(f"activation is {settings.activation}; a mixed zoo takes --activations.")
    images = load_images(data, folder=folder, offline=offline)
    if plan:
        return tell(out, Engine(), partial(mixed_estimate, images, settings, count=count, activations=activations))

    def train(progress: Callable[[int], None]) -> list[Zoo]:
        return make_mixed_zoos(
            out, images, settings, count=count, seed=settings.seed, activations=activations, progress=progress
        )

    print(images.note)
    _made_several(f"Training on {images.name}", count, train)


@make.command
def wild(
    *,
    out: Path,
    data: str = "mnist",
    count: int = 1000,
    folder: Path | None = None,
    offline: bool = False,
    plan: bool = False,
    architecture: Annotated[WildSettings, Parameter(name="*")] = WildSettings(),  # noqa: B008 - frozen
    settings: Annotated[Regime, Parameter(name="*")] = WILD_REGIME,
) -> None:
    """Train CNNs of many architectures, side by side within each, into a folder with a zoo for each architecture.

    Args:
        out: folder of the zoos.
        data: whose images, as for CNNs.
        count: networks in all, dealt out to the architectures in turn.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        architecture: which there may be.
        settings: of the training.
    """
    images = load_images(data, folder=folder, offline=offline)
    if plan:
        return tell(out, Engine(), partial(wild_estimate, images, architecture, settings, count=count))

    def train(progress: Callable[[int], None]) -> list[Zoo]:
        return make_wild_zoos(out, images, architecture, settings, count=count, progress=progress)

    print(images.note)
    _made_several(f"Training on {images.name}", count, train)


@make.command
def mlp(
    *,
    out: Path,
    data: str = "digits",
    count: int = 1000,
    plan: bool = False,
    architecture: Annotated[MlpSettings, Parameter(name="*")] = MlpSettings(),  # noqa: B008 - frozen
    settings: Annotated[Regime, Parameter(name="*")] = Regime(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Train perceptrons on rows of numbers, many side by side, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        out: folder of the zoo.
        data: digits, wine or breast-cancer; all come with scikit-learn and need no download.
        count: networks in all. A later call may ask for more: those that are there are kept.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        architecture: of the networks.
        settings: of the training.
        engine: where its shards are made.
    """
    _classifiers(out, load_table(data), architecture, settings, count, engine, plan=plan)


@make.command
def transformer(
    *,
    out: Path,
    count: int = 1000,
    plan: bool = False,
    architecture: Annotated[TransformerSettings, Parameter(name="*")] = TransformerSettings(),  # noqa: B008 - frozen
    settings: Annotated[Regime, Parameter(name="*")] = Regime(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Train small transformers on digits, a row of pixels a token, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        out: folder of the zoo.
        count: networks in all. A later call may ask for more: those that are there are kept.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        architecture: of the networks.
        settings: of the training.
        engine: where its shards are made.
    """
    _classifiers(out, load_table("digits"), architecture, settings, count, engine, plan=plan)


def _pictured(data: str, count: int | None, views: int, *, folder: Path | None, offline: bool) -> tuple[Images, int]:
    """Images of a data set or of one's own, and how many networks are to hold them."""
    own = data not in NAMES and Path(data).exists()
    images = load_pictures(data) if own else load_images(data, folder=folder, offline=offline)
    if count is None:
        count = len(images) * views if own else 2000
    return images, count


def _classifiers(
    out: Path,
    table: Table,
    architecture: Architecture,
    settings: Regime,
    count: int,
    engine: Engine,
    *,
    plan: bool,
) -> None:
    task = classifier_task(table, architecture, settings, count=count)
    if plan:
        return tell(out, engine, partial(task_estimate, task))
    _made(out, f"Training on {table.name}", count, partial(_fitted, task, out, engine))


def _fitted(task: Task, out: Path, engine: Engine, progress: Callable[[int], None]) -> Zoo:
    return fit_task(task, out, progress=progress, engine=engine)


def _made(out: Path, doing: str, count: int, work: Callable[[Callable[[int], None]], Zoo]) -> None:
    """Makes a zoo under a progress bar and says what came of it."""
    _say(out, _under_bar(doing, count, work))


def _made_several(doing: str, count: int, work: Callable[[Callable[[int], None]], list[Zoo]]) -> None:
    """The same for several zoos."""
    for zoo in _under_bar(doing, count, work):
        _say(zoo.path, zoo)


def _say(out: Path, zoo: Zoo) -> None:
    write_card(zoo)
    print(f"{out}: {size(zoo)} networks of {zoo.spec.numel:,} parameters, {quality(zoo)}.")


def _under_bar(doing: str, count: int, work: Callable[[Callable[[int], None]], Made]) -> Made:
    with bars() as report:
        done = 0

        def advance(networks: int) -> None:
            nonlocal done
            done += networks
            report(doing, done, count, "")

        return work(advance)
