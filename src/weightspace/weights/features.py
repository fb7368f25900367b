"""A batch of networks as tensors that know how they transform."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from numbers import Integral
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError, unknown
from weightspace.spec import NetworkSpec, ParamSpec
from weightspace.weights.state import Networks, stacked_state

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
        """Type of the numbers: the widest where parameters have different ones."""
        return reduce(torch.promote_types, {tensor.dtype for tensor in self.tensors})

    def map(self, function: Callable[[Tensor], Tensor]) -> "WeightFeatures":
        """Each tensor replaced by `function(tensor)`."""
        return WeightFeatures(self.spec, [function(tensor) for tensor in self.tensors])

    def to(self, *args: Any, **kwargs: Any) -> "WeightFeatures":
        """Each tensor moved or converted as by `torch.Tensor.to`."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> "WeightFeatures":
        """Each tensor in page-locked memory, from which copies to a GPU run asynchronously."""
        return self.map(lambda tensor: tensor.pin_memory())

    def to_modules(self, template: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
        """One module per network: copies of the template that carry these weights.

        Args:
            template: a module of the architecture the spec was read from, or one for each network. What the spec does
                not cover, buffers among it, stays as it is in the template, and so do its device, its type of numbers
                (weights are rounded to it), its memory format, and which parameters are frozen.

        Raises:
            ShapeError: more than one channel, a template of another architecture, or another number of them.
        """
        self._check_plain()
        templates = [template] if isinstance(template, nn.Module) else list(template)
        if isinstance(template, nn.Module):
            templates *= len(self)
        if len(templates) != len(self):
            raise ShapeError(f"{len(templates)} templates for {len(self)} networks; expected one, or as many.")
        for each in dict.fromkeys(templates):
            _check_template(self.spec, each)
        blocks = self._blocks()
        partial = [key for key, group in blocks.items() if not self._covers(group)]
        state = self.to_state(stacked_state(template, partial) if partial else None)
        modules = [copy.deepcopy(each) for each in templates]
        for row, module in enumerate(modules):
            stored = module.state_dict()
            for key in blocks:
                stored[key].copy_(state[key][row].detach())
        return modules

    def to_state(self, rest: Networks | None = None) -> dict[str, Tensor]:
        """The stacked state dict: tensors `(batch, *stored shape)` by state-dict key.

        With `rest` it is complete, and runs under `torch.func.functional_call` and `vmap`.

        Args:
            rest: networks in any form that `features_of` takes, from which everything comes that the spec does not
                cover: as many as these, or one for all. Of tied parameters give one, as
                `torch.func.stack_module_state` does. `None` gives what the spec covers and nothing more.

        Raises:
            ShapeError: more than one channel, a stored tensor that the spec covers only in part without a `rest` that
                has the other part, or a `rest` of another number of networks or other shapes.

        Example:
            >>> from weightspace.spec import spec_of
            >>> from weightspace.weights import features_of
            >>> modules = [nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)) for _ in range(4)]
            >>> params, buffers = torch.func.stack_module_state(modules)
            >>> state = features_of(spec_of(modules[0]), (params, buffers)).to_state(rest=(params, buffers))
            >>> call = torch.vmap(lambda one, x: torch.func.functional_call(modules[0], one, x), (0, None))
            >>> call(state, torch.zeros(5, 2)).shape
            torch.Size([4, 5, 1])
        """
        self._check_plain()
        blocks = self._blocks()
        around = {} if rest is None else stacked_state(rest)
        state = {key: tensor if key in blocks else self._repeated(key, tensor) for key, tensor in around.items()}
        for key, group in blocks.items():
            state[key] = self._assembled(key, group, around.get(key))
        return state

    def _blocks(self) -> dict[str, list[tuple[ParamSpec, Tensor]]]:
        """By state-dict key, the parameters that lie in the stored tensor, their values without channels."""
        blocks: dict[str, list[tuple[ParamSpec, Tensor]]] = {}
        for param, tensor in zip(self.spec.params, self.tensors, strict=True):
            blocks.setdefault(param.view.key, []).append((param, tensor[..., 0]))
        return blocks

    def _covers(self, group: Sequence[tuple[ParamSpec, Tensor]]) -> bool:
        """Whether the blocks of one stored tensor make up the whole of it."""
        return sum(_numel(b.shape[1:]) for _, b in group) == _numel(self.spec.stored_shape(group[0][0].name))

    def _assembled(self, key: str, group: Sequence[tuple[ParamSpec, Tensor]], around: Tensor | None) -> Tensor:
        """A stored tensor put together from its blocks; what lies between them comes from `around`."""
        param, block = group[0]
        shape = self.spec.stored_shape(param.name)
        if param.view.strides is None:
            return block.reshape(len(self), *shape)
        if self._covers(group):
            stored = block.new_empty(len(self), *shape)
        elif around is None:
            raise ShapeError(
                f"the spec covers only parts of {key!r}; give the networks that have the rest as to_state(rest=...)."
            )
        elif tuple(around.shape[1:]) != shape:
            raise ShapeError(f"{key!r} of the rest has shape {tuple(around.shape[1:])}; the spec expects {shape}.")
        else:
            stored = self._repeated(key, around).clone(memory_format=torch.contiguous_format)
        for param, block in group:
            param.view.of(stored, tuple(block.shape[1:])).copy_(block)
        return stored

    def _repeated(self, key: str, tensor: Tensor) -> Tensor:
        """A tensor of the rest, with one row per network."""
        if tensor.ndim == 0 or len(tensor) not in (1, len(self)):
            raise ShapeError(
                f"{key!r} of the rest has shape {tuple(tensor.shape)} for {len(self)} networks; expected (batch, "
                "*shape) with as many networks, or one for all."
            )
        return tensor if len(tensor) == len(self) else tensor.repeat(len(self), *[1] * (tensor.ndim - 1))

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
    if not names:
        raise ShapeError("the spec has no parameters, so there are no features: give a module that has weights.")
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
        expected = spec.stored_shape(param.name)
        stored = tuple(state[param.view.key].shape) if param.view.key in state else None
        if stored != expected:
            raise ShapeError(
                f"the template has {f'shape {stored}' if stored else 'nothing'} at {param.view.key!r}, the spec "
                f"expects {expected}; give a module of the architecture that the spec was read from."
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


def _numel(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


def _unwrap(x: WeightFeatures) -> tuple[list[Any], NetworkSpec]:
    return list(x.tensors), x.spec


def _wrap(tensors: Any, spec: NetworkSpec) -> WeightFeatures:
    return WeightFeatures._trusted(spec, list(tensors))


pytree.register_pytree_node(
    WeightFeatures, _unwrap, _wrap, serialized_type_name="weightspace.weights.features.WeightFeatures"
)
