"""The zoos that tables are about: made by one command each, and again by the same command."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from weightspace.zoo import Images, Zoo, load_images
from weightspace.zoo.generate import (
    CnnSettings,
    PolicySettings,
    SirenSettings,
    make_cnn_zoo,
    make_policy_zoo,
    make_siren_zoo,
)

__all__ = ["ZooRecipe"]

Settings = SirenSettings | CnnSettings | PolicySettings
_VERBS: dict[type[Settings], str] = {SirenSettings: "", CnnSettings: " cnn", PolicySettings: " policy"}


@dataclass(frozen=True)
class ZooRecipe:
    """A zoo: what it is made from, and how.

    Args:
        name: of its folder, together with the count.
        settings: of its networks.
        count: networks; of policies, runs of training.
        images: the data set that they hold or tell apart; empty for policies.

    Example:
        >>> ZooRecipe("digits", SirenSettings(omega=15.0, steps=5), 40, "digits").command
        'weightspace zoo make --out digits-40 --count 40 --data digits --omega 15.0 --steps 5'
    """

    name: str
    settings: Settings
    count: int
    images: str = ""

    @property
    def folder(self) -> str:
        """Where it lies among other zoos."""
        return f"{self.name}-{self.count}"

    @property
    def command(self) -> str:
        """The words that make it anywhere."""
        words = ["--out", self.folder, "--count", str(self.count)]
        words += ["--data", self.images] if self.images else []
        for field in fields(self.settings):
            value = getattr(self.settings, field.name)
            if value != field.default:
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{field.name.replace('_', '-')}", *map(str, values)]
        return f"weightspace zoo make{_VERBS[type(self.settings)]} {shlex.join(words)}"

    def load_images(self) -> Images:
        """The images that it is about."""
        return load_images(self.images)

    def make(self, zoos: Path, progress: Callable[[int], None] | None = None) -> Zoo:
        """The zoo, made in a folder of zoos or gone on with there.

        Args:
            zoos: the folder of zoos.
            progress: called with the number of networks that are newly there.
        """
        place, made = zoos / self.folder, self.settings
        if isinstance(made, PolicySettings):
            return make_policy_zoo(place, made, count=self.count, progress=progress)
        common: dict[str, Any] = {"count": self.count, "seed": made.seed, "progress": progress}
        if isinstance(made, SirenSettings):
            return make_siren_zoo(place, self.load_images(), made, **common)
        return make_cnn_zoo(place, self.load_images(), made, **common)
