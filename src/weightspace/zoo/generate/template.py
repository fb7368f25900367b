"""From a zoo's manifest back to torch modules."""

from dataclasses import fields
from typing import Any

from torch import nn

from weightspace.errors import unknown
from weightspace.zoo.dataset import Rows, Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.cnn import CnnSettings, cnn
from weightspace.zoo.generate.siren import SirenSettings, siren

__all__ = ["modules", "settings_of", "template"]

_RECIPES: dict[str, type[SirenSettings] | type[CnnSettings]] = {"siren": SirenSettings, "cnn": CnnSettings}


def settings_of(manifest: Manifest) -> SirenSettings | CnnSettings:
    """The settings that a zoo was made with; what only touches speed has its default.

    Raises:
        UnknownNameError: a recipe that this package does not have.
    """
    if manifest.recipe not in _RECIPES:
        raise unknown("recipe", manifest.recipe, _RECIPES)
    kind = _RECIPES[manifest.recipe]
    names = {field.name for field in fields(kind)}
    return kind(**{name: _plain(value) for name, value in manifest.settings.items() if name in names})


def template(manifest: Manifest) -> nn.Sequential:
    """A module of the architecture of a zoo's networks; its weights are not those of any of them.

    Args:
        manifest: of a zoo that the package made.

    Raises:
        UnknownNameError: a recipe that this package does not have.
    """
    settings = settings_of(manifest)
    if isinstance(settings, CnnSettings):
        return cnn(settings, manifest.forward["classes"]).eval()
    *_, last = manifest.spec.params
    return siren(settings, manifest.spec.shape(last.name)[0]).eval()


def modules(zoo: Zoo, rows: Rows = slice(None)) -> list[nn.Module]:
    """The chosen networks of a zoo as torch modules, in the order asked for.

    Args:
        zoo: one that the package made.
        rows: a slice, or row numbers from 0. Default: all.

    Raises:
        DataError: a row that the zoo does not have.
        UnknownNameError: a recipe that this package does not have.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from weightspace.zoo import load_images
        >>> from weightspace.zoo.generate import make_siren_zoo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_siren_zoo(folder, load_images("digits"), SirenSettings((8,), steps=5), count=3)
        ...     [network(torch.zeros(1, 2)).shape for network in modules(zoo, [2, 0])]
        [torch.Size([1, 1]), torch.Size([1, 1])]
    """
    return zoo.features(rows).to_modules(template(zoo.manifest))


def _plain(value: Any) -> Any:
    """JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value
