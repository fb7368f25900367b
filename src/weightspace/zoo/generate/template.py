"""From a zoo's manifest back to torch modules."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from weightspace.errors import FormatError, SpecError, unknown
from weightspace.spec import NetworkSpec
from weightspace.weights.source.chain import guess_chain
from weightspace.zoo.dataset import Rows, Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.architecture import MlpSettings, TransformerSettings
from weightspace.zoo.generate.classifier import build
from weightspace.zoo.generate.cnn import CnnSettings, cnn
from weightspace.zoo.generate.inr import InrSettings, inr
from weightspace.zoo.generate.policy import PolicySettings, policy
from weightspace.zoo.generate.sdf import SdfSettings, sdf
from weightspace.zoo.generate.siren import SirenSettings, siren
from weightspace.zoo.generate.wild import ConvolutionalNetwork, layers_of
from weightspace.zoo.lora import LoRA

__all__ = ["describe", "described", "modules", "recorded", "settings_of", "template"]

Known = SirenSettings | InrSettings | SdfSettings | CnnSettings | MlpSettings | TransformerSettings | PolicySettings
"""Settings that say what the networks of a zoo are."""

_RECIPES: dict[str, type[Known]] = {
    "siren": SirenSettings,
    "inr": InrSettings,
    "sdf": SdfSettings,
    "cnn": CnnSettings,
    "mlp": MlpSettings,
    "transformer": TransformerSettings,
    "policy": PolicySettings,
}


def settings_of(manifest: Manifest) -> Known:
    """The settings that a zoo's networks were made with; what only touches speed has its default.

    For perceptrons and transformers, those of the architecture.

    Raises:
        UnknownNameError: a recipe that this package does not have.
    """
    if manifest.recipe not in _RECIPES:
        raise unknown("recipe", manifest.recipe, _RECIPES)
    kind = _RECIPES[manifest.recipe]
    names = {field.name for field in fields(kind)}
    return kind(**{name: _plain(value) for name, value in manifest.settings.items() if name in names})


def template(manifest: Manifest) -> nn.Module:
    """A module of the architecture of a zoo's networks; its weights are not those of any of them.

    No code is run that a manifest may name: it describes architectures that this package knows.

    Args:
        manifest: of a zoo that the package made, or imported.

    Raises:
        UnknownNameError: a recipe that this package does not have. Networks of your own that
            :func:`weightspace.zoo.fit` trained come back by ``modules(zoo, rows, your_module)``.
        SpecError: an imported zoo that does not say how its networks compute.
        FormatError: a description that is damaged.
    """
    if "template" in manifest.settings:
        return recorded(manifest.settings["template"])
    if manifest.recipe == "wild":
        return ConvolutionalNetwork(layers_of(manifest.settings["layers"]), manifest.forward["classes"]).eval()
    settings = settings_of(manifest)
    if isinstance(settings, MlpSettings | TransformerSettings):
        return build(settings, tuple(manifest.forward["input_shape"]), manifest.forward["classes"]).eval()
    if isinstance(settings, CnnSettings):
        return cnn(settings, manifest.forward["classes"]).eval()
    if isinstance(settings, PolicySettings):
        return policy(settings).eval()
    if isinstance(settings, SdfSettings):
        return sdf(settings).eval()
    *_, last = manifest.spec.params
    if isinstance(settings, InrSettings):
        return inr(settings, manifest.spec.shape(last.name)[0], manifest.forward.get("frequencies")).eval()
    return siren(settings, manifest.spec.shape(last.name)[0]).eval()


def describe(manifest: Manifest) -> dict[str, Any]:
    """How the networks of a zoo compute, as JSON values: recipe, settings and forward pass.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.zoo.generate.siren import forward_pass
        >>> settings = SirenSettings(hidden=(8,), omega=15.0)
        >>> kept = {"hidden": settings.hidden, "omega": settings.omega}
        >>> manifest = Manifest(
        ...     spec=spec_of(siren(settings)), recipe="siren", settings=kept, forward=forward_pass(settings)
        ... )
        >>> describe(manifest)["settings"]
        {'hidden': [8], 'omega': 15.0}
        >>> described(describe(manifest), manifest.spec)
        Sequential(
          (0): Linear(in_features=2, out_features=8, bias=True)
          (1): Sine(omega=15)
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    plain = {"recipe": manifest.recipe, "settings": manifest.settings, "forward": manifest.forward}
    return dict(json.loads(json.dumps(plain)))


def described(network: Mapping[str, Any], spec: NetworkSpec) -> nn.Module:
    """A module of the architecture that `describe` told; its weights are not those of any network.

    Args:
        network: from `describe`.
        spec: of the networks.

    Raises:
        UnknownNameError: a recipe that this package does not have.
        SpecError: a description that is damaged, or does not say how the networks compute.
    """
    try:
        kept = {name: network[name] for name in ("recipe", "settings", "forward")}
        return template(Manifest(spec=spec, **kept))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, FormatError) as failure:
        raise SpecError(
            f"the description {str(dict(network))[:200]} of networks is damaged ({failure!r}). "
            "Remedy: give what describe(zoo.manifest) says of their zoo."
        ) from failure


def recorded(record: Mapping[str, Any]) -> nn.Module:
    """The module that a record of an imported zoo's manifest describes.

    Args:
        record: its ``kind`` with what that takes: ``cnn`` (``activation``, ``classes``), ``chain`` (``shapes`` by name,
            ``activation``) and ``lora`` (``shapes``). Other kinds only tell where the architecture came from.

    Raises:
        SpecError: a kind that does not say how the networks compute; a chain of which only the symmetries are known.
        FormatError: a record that lacks something.

    Example:
        >>> recorded({"kind": "chain", "activation": "relu", "shapes": {"0.weight": [8, 2], "2.weight": [1, 8]}})
        Chain(
          (0): Linear(in_features=2, out_features=8, bias=False)
          (2): Linear(in_features=8, out_features=1, bias=False)
        )
        >>> recorded({"kind": "module", "name": "models.Net"})
        Traceback (most recent call last):
        weightspace.errors.SpecError: this zoo's networks are those of module 'models.Net', which a manifest...
    """
    try:
        match record["kind"]:
            case "cnn":
                return cnn(CnnSettings(activation=record["activation"]), record["classes"]).eval()
            case "lora":
                return LoRA(record["shapes"]).eval()
            case "chain" if record["activation"] and all(len(shape) < 3 for shape in record["shapes"].values()):
                state = {name: torch.zeros(tuple(shape)) for name, shape in record["shapes"].items()}
                return guess_chain(state, record["activation"])[0]
            case kind:
                raise SpecError(
                    f"this zoo's networks are those of {kind} {record.get('name', '')!r}, which a manifest does not "
                    "describe so that they could be run. Remedy: give a module of theirs: modules(zoo, rows, template)."
                )
    except (KeyError, TypeError, AttributeError, RuntimeError) as failure:
        raise FormatError(f"the record {dict(record)} of a zoo's architecture is damaged ({failure!r}).") from failure


def modules(zoo: Zoo, rows: Rows = slice(None), template: nn.Module | None = None) -> list[nn.Module]:
    """The chosen networks of a zoo as torch modules, in the order asked for.

    Args:
        zoo: one that the package made, or imported.
        rows: a slice, or row numbers from 0. Default: all.
        template: a module of their architecture, where the zoo does not describe it.

    Raises:
        DataError: a row that the zoo does not have.
        UnknownNameError: a recipe that this package does not have.
        SpecError: an imported zoo that does not say how its networks compute, without a template.
        ShapeError: a template of another architecture.

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
    return zoo.features(rows).to_modules(_template(zoo.manifest) if template is None else template)


_template = template


def _plain(value: Any) -> Any:
    """JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value
