"""A batch of networks as tensors that know how they transform."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError, unknown
from weightspace.spec import NetworkSpec

__all__ = ["WeightFeatures", "flatten", "unflatten"]


class WeightFeatures:
    """A batch of networks in one weight space: per parameter a tensor `(batch, *axes, channels)`.

    Immutable, with the channels last, and a pytree: `vmap`, `torch.compile` and data-parallel wrappers look inside.

    Args:
        spec: the space the networks lie in.
        tensors: one tensor per parameter, by name or in the order of `spec.params`.

    Raises:
        ShapeError: a missing or extra tensor, or one whose shape does not fit the spec.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(torch.nn.Linear(2, 3))
        >>> x = WeightFeatures(spec, [torch.zeros(5, 3, 2, 1), torch.ones(5, 3, 1)])
        >>> len(x), x.channels, x["bias"].shape
        (5, 1, torch.Size([5, 3, 1]))
        >>> (x + x)[:2]["bias"].sum()
        tensor(12.)
    """

    __slots__ = ("spec", "tensors")

    spec: NetworkSpec
    tensors: tuple[Tensor, ...]

    def __init__(self, spec: NetworkSpec, tensors: Mapping[str, Tensor] | Sequence[Tensor]) -> None:
        names = [param.name for param in spec.params]
        if isinstance(tensors, Mapping):
            if set(tensors) != set(names):
                wrong = sorted(set(tensors) ^ set(names))
                raise ShapeError(f"tensors {wrong} are missing or too many; the spec has exactly {names}.")
            tensors = [tensors[name] for name in names]
        _check_shapes(spec, names, tensors)
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "tensors", tuple(tensors))

    @classmethod
    def _trusted(cls, spec: NetworkSpec, tensors: Sequence[Any]) -> "WeightFeatures":
        """Without the checks: pytree functions put other things than tensors in the leaves for a while."""
        out = object.__new__(cls)
        object.__setattr__(out, "spec", spec)
        object.__setattr__(out, "tensors", tuple(tensors))
        return out

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"WeightFeatures are immutable; make new ones instead of setting {name!r}.")

    def __reduce__(self) -> tuple[Callable[..., "WeightFeatures"], tuple[NetworkSpec, tuple[Tensor, ...]]]:
        return WeightFeatures, (self.spec, self.tensors)

    def __repr__(self) -> str:
        return (
            f"WeightFeatures(batch={len(self)}, channels={self.channels}, params={[p.name for p in self.spec.params]})"
        )

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __getitem__(self, key: str | SupportsIndex | slice | Tensor | Sequence[int]) -> Any:
        """A parameter's tensor by name, or some of the networks by slice, index tensor or list (an int gives one)."""
        if isinstance(key, str):
            return self.tensors[self._position(key)]
        if isinstance(key, Integral) or (isinstance(key, Tensor) and key.ndim == 0):
            key = int(key)
            if not -len(self) <= key < len(self):
                # An IndexError and nothing else: it is what ends a loop over the networks.
                raise IndexError(f"network {key} of a batch of {len(self)}; expected {-len(self)} to {len(self) - 1}.")
            key = slice(key, key + 1) if key != -1 else slice(-1, None)
        return self.map(lambda tensor: tensor[key])

    def _position(self, name: str) -> int:
        names = [param.name for param in self.spec.params]
        if name not in names:
            raise unknown("parameter", name, names)
        return names.index(name)

    def __add__(self, other: "WeightFeatures") -> "WeightFeatures":
        if other.spec != self.spec:
            raise ShapeError("features of different specs cannot be added; bring both into one weight space first.")
        return WeightFeatures(self.spec, [a + b for a, b in zip(self.tensors, other.tensors, strict=True)])

    def expect(self, spec: NetworkSpec, channels: int | None = None) -> None:
        """Raise `ShapeError` where these features have another space, or other channels, than a layer was made for."""
        if self.spec != spec:
            raise ShapeError(
                f"features of a space of {self.spec.numel} parameters ({self.spec.digest[:8]}) given to a layer for a "
                f"space of {spec.numel} ({spec.digest[:8]}); make the layer from the features' own spec."
            )
        if channels is not None and self.channels != channels:
            raise ShapeError(f"features with {self.channels} channels given to a layer that takes {channels} channels.")

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Parameter names with their tensors, in the order of the spec."""
        return ((param.name, tensor) for param, tensor in zip(self.spec.params, self.tensors, strict=True))

    @property
    def channels(self) -> int:
        """Number of feature channels; plain networks have one."""
        return self.tensors[0].shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.tensors[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers."""
        return self.tensors[0].dtype

    def map(self, function: Callable[[Tensor], Tensor]) -> "WeightFeatures":
        """Each tensor replaced by `function(tensor)`."""
        return WeightFeatures(self.spec, [function(tensor) for tensor in self.tensors])

    def to(self, *args: Any, **kwargs: Any) -> "WeightFeatures":
        """Each tensor moved or converted as by `torch.Tensor.to`."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> "WeightFeatures":
        """Each tensor in page-locked memory, from which copies to a GPU run asynchronously."""
        return self.map(lambda tensor: tensor.pin_memory())

    def to_modules(self, template: nn.Module) -> list[nn.Module]:
        """One module per network: copies of the template that carry these weights.

        Args:
            template: a module of the architecture the spec was read from; what the spec does not cover is kept.

        Raises:
            ShapeError: more than one channel, or a template of another architecture.
        """
        self._check_plain()
        _check_template(self.spec, template)
        modules = []
        for row in range(len(self)):
            module = copy.deepcopy(template)
            state = module.state_dict()
            for param, tensor in zip(self.spec.params, self.tensors, strict=True):
                target = state[param.view.key][param.view.index]
                target.copy_(tensor[row].detach().reshape(target.shape))
            modules.append(module)
        return modules

    def to_state(self) -> dict[str, Tensor]:
        """The stacked state dict: tensors `(batch, *axes)` by state-dict key.

        The axes are those of the stored tensor, except where a layer behind a flattened feature map owns several
        positions per channel: they stand apart here, and `features_of` and `to_modules` put them together.

        Raises:
            ShapeError: more than one channel, or a parameter that is a slice of a stored tensor.
        """
        self._check_plain()
        sliced = [param.name for param in self.spec.params if param.view.slices is not None]
        if sliced:
            raise ShapeError(f"parameters {sliced} are slices of stored tensors; use to_modules with a template.")
        return {param.view.key: tensor[..., 0] for param, tensor in zip(self.spec.params, self.tensors, strict=True)}

    def _check_plain(self) -> None:
        if self.channels != 1:
            raise ShapeError(f"features with {self.channels} channels are no networks; map them to one channel first.")

    @staticmethod
    def cat(parts: Sequence["WeightFeatures"]) -> "WeightFeatures":
        """The networks of several batches of one space in one batch."""
        if not parts:
            raise ShapeError("nothing to concatenate: give at least one batch of networks.")
        if any(part.spec != parts[0].spec for part in parts):
            raise ShapeError("features of different specs cannot share a batch; keep them as a list, one per spec.")
        columns = zip(*(part.tensors for part in parts), strict=True)
        return WeightFeatures(parts[0].spec, [torch.cat(column) for column in columns])


def _check_shapes(spec: NetworkSpec, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    if len(tensors) != len(names):
        raise ShapeError(f"{len(tensors)} tensors for a spec of {len(names)} parameters: {names}.")
    batch, channels = tensors[0].shape[0], tensors[0].shape[-1]
    for name, tensor in zip(names, tensors, strict=True):
        expected = (batch, *spec.shape(name), channels)
        if tuple(tensor.shape) != expected:
            raise ShapeError(
                f"tensor of parameter {name!r} has shape {tuple(tensor.shape)}; expected {expected}, "
                "that is (batch, *axes, channels) with the same batch and channels for every parameter."
            )


def _check_template(spec: NetworkSpec, template: nn.Module) -> None:
    state = template.state_dict()
    for param in spec.params:
        shape = spec.shape(param.name)
        stored = tuple(state[param.view.key][param.view.index].shape) if param.view.key in state else None
        if stored is None or not splits(stored, shape):
            raise ShapeError(
                f"the template has {f'shape {stored}' if stored else 'nothing'} at {param.view.key!r}, the spec "
                f"expects {shape}; give a module of the architecture that the spec was read from."
            )


def flatten(x: WeightFeatures) -> Float[Tensor, "batch numel"]:
    """Each network as one row: the blocks in the order of the spec, each row-major. Shape `(batch, numel * channels)`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(torch.nn.Linear(2, 1))
        >>> flatten(unflatten(spec, torch.tensor([[1.0, 2.0, 3.0]])))
        tensor([[1., 2., 3.]])
    """
    return torch.cat([tensor.flatten(1) for tensor in x.tensors], dim=1)


def unflatten(spec: NetworkSpec, rows: Tensor) -> WeightFeatures:
    """The networks whose rows `flatten` wrote, as views with one channel.

    Raises:
        ShapeError: rows of another length than the spec has parameters.
    """
    if rows.ndim != 2 or rows.shape[1] != spec.numel:
        raise ShapeError(f"rows of shape {tuple(rows.shape)}; expected (batch, {spec.numel}) for this spec.")
    shapes = [spec.shape(param.name) for param in spec.params]
    blocks = rows.split([_numel(shape) for shape in shapes], dim=1)
    return WeightFeatures(spec, [b.reshape(len(rows), *shape, 1) for b, shape in zip(blocks, shapes, strict=True)])


def splits(stored: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a stored tensor becomes a block by splitting its dimensions alone.

    Example:
        >>> splits((2, 12), (2, 3, 4)), splits((12, 2), (2, 3, 4))
        (True, False)
    """
    rest = [size for size in shape if size != 1]
    for size in stored:
        while size > 1 and rest and size % rest[0] == 0:
            size //= rest.pop(0)
        if size != 1:
            return False
    return not rest


def _numel(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


def _unwrap(x: WeightFeatures) -> tuple[list[Any], NetworkSpec]:
    return list(x.tensors), x.spec


def _wrap(tensors: Any, spec: NetworkSpec) -> WeightFeatures:
    return WeightFeatures._trusted(spec, list(tensors))


pytree.register_pytree_node(
    WeightFeatures, _unwrap, _wrap, serialized_type_name="weightspace.weights.features.WeightFeatures"
)
