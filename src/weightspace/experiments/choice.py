"""Which model learns: one of the package's by name, or anybody's by import path, in the size that is asked for."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from torch import nn

from weightspace.errors import SpecError, TrainingError, UnknownNameError, WeightspaceError, unknown
from weightspace.experiments.spaces import Space
from weightspace.models import Readout
from weightspace.models.construction import arguments
from weightspace.models.saving import MODELS
from weightspace.spec import NetworkSpec
from weightspace.weights.source.factory import imported, is_factory
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.template import describe, template

__all__ = ["ModelChoice", "fit_scale", "options_of"]

PRESET = "demo"
"""The size of the package's models where none is asked for."""


@dataclass(frozen=True)
class ModelChoice:
    """A model by name, with its size.

    Args:
        name: a model of the package, or `package.module:Model`: anything that is called with a spec and a readout and
            gives an `nn.Module`. Importing and calling it runs its code.
        preset: a size that the model has a name for (`Model.preset`); by default `demo` for the package's models, and
            none for others.
        options: arguments of the constructor by keyword, as JSON values, in place of those of the preset.

    Raises:
        UnknownNameError: no model of that name.

    Example:
        >>> from weightspace.models import Invariant
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> model = ModelChoice("MonomialNFN", options={"stem": [4]}).build(spec, Invariant(10), seed=0)
        >>> arguments(model)["stem"], arguments(model)["trunk"]
        ((4,), (32,))
        >>> ModelChoice("MonomailNFN")
        Traceback (most recent call last):
        weightspace.errors.UnknownNameError: unknown model 'MonomailNFN': did you mean "MonomialNFN"?...
    """

    name: str = "MonomialNFN"
    preset: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in MODELS and not is_factory(self.name):
            raise unknown("model", self.name, [*MODELS, "package.module:Model"])

    @property
    def packaged(self) -> bool:
        """Whether the model is one of the package's, which is saved with what it was built from."""
        return self.name in MODELS

    @property
    def plain(self) -> dict[str, Any]:
        """The choice as JSON values, the preset that is taken by default included."""
        preset = PRESET if self.packaged and self.preset is None else self.preset
        return {"name": self.name, "preset": preset, "options": json.loads(json.dumps(dict(self.options)))}

    def told(self, manifest: Manifest) -> "ModelChoice":
        """The choice with a description of a zoo's networks, where the model runs them and no description is given.

        Args:
            manifest: of the zoo. Where the package does not know its networks, the model has to make do with the spec.
        """
        takes = self.packaged and "network" in inspect.signature(MODELS[self.name]).parameters
        if not takes or "network" in self.options:
            return self
        try:
            template(manifest)
        except WeightspaceError:
            return self
        return replace(self, options={**self.options, "network": describe(manifest)})

    def build(self, spec: Space, readout: Readout, *, seed: int) -> nn.Module:
        """The model, with weights that depend on the seed alone. The caller's random numbers are left as they were.

        Args:
            spec: the space of the networks that it will read, or those of several zoos.
            readout: what it is asked for.
            seed: of its initial weights.

        Raises:
            UnknownNameError: a preset, an option or a name in a module that does not exist.
            TrainingError: several spaces for a model that reads one; an option of another type, or code of one's own
                that fails or gives no module.
            SpecError: a module that cannot be imported.
        """
        with torch.random.fork_rng(devices=[]):
            if not self.packaged:
                return self._build_other(spec, readout, seed)
            kind: Any = MODELS[self.name]
            if not isinstance(spec, NetworkSpec) and not _reads_several(kind):
                others = ", ".join(name for name, model in MODELS.items() if _reads_several(model))
                raise TrainingError(
                    f"{self.name} reads networks of one weight space, and these zoos have {len(spec)}. Remedy: choose "
                    f"one of {others}, or train on one of the zoos."
                )
            torch.manual_seed(seed)
            sized = inspect.signature(kind.preset).parameters
            needed = options_of(kind, {name: v for name, v in self.options.items() if name in sized})
            model: nn.Module = kind.preset(self.preset or PRESET, spec, readout, **needed)
            if not self.options:
                return model
            known = {key: value for key, value in arguments(model).items() if key not in ("spec", "readout")}
            chosen = {**known, **options_of(kind, self.options)}
            torch.manual_seed(seed)
            built = _called(f"{self.name} with {dict(self.options)}", lambda: kind(spec, readout, **chosen))
        return built

    def build_from(self, *given: Any, seed: int) -> nn.Module:
        """The model of a factory that reads something else than networks, and is called with what tells it of that.

        Args:
            given: in place of spec and readout; the options follow by keyword.
            seed: of its initial weights.

        Raises:
            TrainingError: a model of the package, which reads networks, a preset, or code that fails.
            SpecError: a module that cannot be imported, or no model.

        Example:
            >>> ModelChoice("torch.nn:Linear", options={"bias": False}).build_from(2, 3, seed=0)
            Linear(in_features=2, out_features=3, bias=False)
        """
        if self.packaged or self.preset is not None:
            raise TrainingError(
                f"{self.name} with preset {self.preset!r} reads networks, and is asked for something else: give a "
                "model as `package.module:Model` with options."
            )
        with torch.random.fork_rng(devices=[]):
            make = self._imported(seed)
            kinds = ", ".join(type(thing).__name__ for thing in given)
            return _called(self.name, lambda: make(*given, **self.options), kinds)

    def _imported(self, seed: int) -> Any:
        torch.manual_seed(seed)
        make = imported(self.name)
        torch.manual_seed(seed)  # again: an import draws once in the life of a process
        return make

    def _build_other(self, spec: Space, readout: Readout, seed: int) -> nn.Module:
        make = self._imported(seed)
        if self.preset is None:
            return _called(self.name, lambda: make(spec, readout, **self.options))
        if not isinstance(make, Sized):
            raise UnknownNameError(f"{self.name} has no presets; leave the preset {self.preset!r} out.")
        if self.options:
            raise TrainingError(
                f"preset {self.preset!r} and options {dict(self.options)} are given for {self.name}, whose presets are "
                "taken as they are: leave one of the two out."
            )
        return _called(self.name, lambda: make.preset(self.preset or "", spec, readout))


def _reads_several(kind: type[nn.Module]) -> bool:
    """Whether a model of the package can be built for a list of specs, by what its constructor says."""
    return Sequence[NetworkSpec] in get_args(get_type_hints(kind.__init__)["spec"])


@runtime_checkable
class Sized(Protocol):
    """A model that has names for sizes."""

    preset: Callable[..., nn.Module]
    """Called with the name, the spec and the readout."""


@runtime_checkable
class Scale(Protocol):
    """What learns the size of a zoo's weights from its training networks, such as `layers.ParameterScale`."""

    def fit(self, x: Any) -> Any:
        """Take the scales of these networks."""


def fit_scale(model: nn.Module, x: Any) -> None:
    """Let a model take the scales of the training networks, where it has a `norm` that can; others are left alone.

    Args:
        model: to be trained.
        x: the networks of the training split, all at once or part by part.
    """
    norm = getattr(model, "norm", None)
    if isinstance(norm, Scale):
        norm.fit(x)


def options_of(kind: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options in the types that a constructor is annotated with.

    Args:
        kind: a class whose constructor has annotations.
        given: JSON values; a list is good for a tuple, an integer for a float.

    Raises:
        UnknownNameError: an option that the constructor does not have.
        TrainingError: a value of another type.

    Example:
        >>> options_of(MODELS["MonomialNFN"], {"stem": [8, 8]})
        {'stem': (8, 8)}
        >>> options_of(MODELS["MonomialNFN"], {"stem": "8"})
        Traceback (most recent call last):
        weightspace.errors.TrainingError: option stem of MonomialNFN is '8': expected tuple[int, ...].
    """
    hints = get_type_hints(kind.__init__)
    valid = [name for name in inspect.signature(kind).parameters if name not in ("spec", "readout")]
    found = {}
    for name, value in given.items():
        if name not in valid:
            raise unknown(f"option of {kind.__name__}", name, valid)
        hint = hints.get(name, Any)
        if not _fits(value, hint):
            shown = hint.__name__ if isinstance(hint, type) and not get_args(hint) else hint
            raise TrainingError(f"option {name} of {kind.__name__} is {value!r}: expected {shown}.")
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value can stand for a type."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if hint is None or hint is NoneType:
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, parts[0]) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    return isinstance(hint, type) and isinstance(value, hint)


def _called(name: str, make: Callable[[], Any], given: str = "the spec, the readout") -> nn.Module:
    try:
        made = make()
    except WeightspaceError:
        raise
    except Exception as error:  # whatever a constructor makes of its arguments
        raise TrainingError(
            f"{name} cannot be built: {type(error).__name__}: {error}. It is called with {given} and its options "
            "by keyword."
        ) from error
    if not isinstance(made, nn.Module):
        raise SpecError(f"{name} gave a {type(made).__name__}; expected an nn.Module.")
    return made
