"""What the verbs that make zoos have in common: what is asked for, and what is said of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import quality, size
from weightspace.cli.zoo.plan import tell
from weightspace.zoo import Images, Zoo, load_images, load_pictures, write_card
from weightspace.zoo.generate import Engine
from weightspace.zoo.generate.estimate import Estimate
from weightspace.zoo.sources import NAMES

__all__ = ["Order", "Source", "carry_out", "note", "say", "under_bar"]


@dataclass(frozen=True)
class Order:
    """A zoo that is to be made."""

    out: Path
    """Folder of the zoo, or, where several are made, of all of them. Networks that are there are kept."""
    plan: bool = False
    """Say what time, memory and disk it will take, measured for a few seconds, and make nothing."""
    dtype: str = "float32"
    """In which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16). They are trained in float32."""
    engine: Annotated[Engine, Parameter(name="*")] = field(default_factory=Engine)
    """Where its shards are made."""


@dataclass(frozen=True)
class Source:
    """Whose images networks are trained on."""

    data: str = "mnist"
    """Whose images: mnist, fashion-mnist, cifar10, cifar10-gs (in grey), syndigits, syndigits-gs or syndigits-system
    (digits drawn over photographs), or digits (8 by 8, needs no download). Networks that hold images can be fitted to
    your own too: the path of a picture, or of a folder of pictures of one size."""
    folder: Path | None = None
    """Where the original files of the data set lie, if you have them already."""
    offline: bool = False
    """Use no package registry; the images come from the folder or from the cache."""

    def images(self) -> Images:
        """Those of a data set."""
        return load_images(self.data, folder=self.folder, offline=self.offline)

    def pictures(self, count: int | None, views: int) -> tuple[Images, int]:
        """Images of a data set or of one's own, and how many networks are to hold them."""
        own = self.data not in NAMES and Path(self.data).exists()
        images = load_pictures(self.data) if own else self.images()
        if count is None:
            count = len(images) * views if own else 2000
        return images, count


Progress = Callable[[int], None]
Result = TypeVar("Result")


Asked = Callable[..., Estimate]
"""Tells what a zoo of a type (`dtype`) will take."""

Made = Callable[..., Zoo | list[Zoo]]
"""Makes a zoo in a folder, or the zoos of a collection, as `progress`, `engine` and `dtype` say."""


def carry_out(
    order: Order, doing: str, count: int, ask: Asked, make: Made, *, unit: str = "", noun: str = "networks"
) -> None:
    """Makes what was ordered under a progress bar and says what came of it, or says what it would take.

    Args:
        order: what is asked for.
        doing: what the bar says.
        count: of what the bar counts.
        ask: what it will take.
        make: it.
        unit: of what the bar counts.
        noun: what a zoo holds.
    """
    if order.plan:
        tell(order.out, order.engine, partial(ask, dtype=order.dtype))
        return
    making = partial(make, order.out, engine=order.engine, dtype=order.dtype)
    made = under_bar(doing, count, lambda progress: making(progress=progress), unit)
    for zoo in [made] if isinstance(made, Zoo) else made:
        say(zoo, noun)


def note(order: Order, images: Images) -> None:
    """Says where images came from, ahead of the bar."""
    if not order.plan:
        print(images.note)


def say(zoo: Zoo, noun: str = "networks") -> None:
    """Says what a zoo holds, and writes its card."""
    write_card(zoo)
    print(f"{zoo.path}: {size(zoo)} {noun} of {zoo.spec.numel:,} parameters, {quality(zoo)}.")


def under_bar(doing: str, count: int, work: Callable[[Progress], Result], unit: str = "") -> Result:
    """What some work gives that tells of its progress."""
    with bars() as report:
        done = 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            report(doing, done, count, unit)

        return work(advance)
