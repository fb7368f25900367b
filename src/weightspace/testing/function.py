"""Whether a network computes the same after its weights were moved: the proof that a spec is right."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.errors import DataError, ShapeError
from weightspace.spec import Element, NetworkSpec, ParamSpec, identity, sample_element
from weightspace.spec.precision import double_precision, scaled
from weightspace.spec.trace import arguments_of
from weightspace.testing.orbit import MEANINGLESS, Deviation, conditioning_of, deviation, tolerance_of
from weightspace.weights import WeightFeatures, act, features_of

__all__ = ["Change", "assert_function_preserved", "function_changes", "function_error"]

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
DECADES = range(-3, 4)
ELEMENTS = 4


@dataclass(frozen=True)
class Change:
    """How much a network's function changes at inputs of one size.

    Args:
        decade: the inputs are the examples times `10**decade`.
        error: the largest relative change of the outputs, over all group elements.
        where: the output and the entry where it was found.
        allowed: the change that passes: what rounding may cause, or the tolerance that was given.
        telling: whether it can be told by these inputs: rounding alone causes less than 1e-2, or a tolerance was given.
    """

    decade: int
    error: float
    where: str
    allowed: float
    telling: bool


def function_error(
    module: nn.Module,
    spec: NetworkSpec,
    example_inputs: Inputs,
    *,
    elements: int = ELEMENTS,
    log_scale: float = 2.0,
    seed: int = 0,
    training: bool = False,
    randomise: bool = False,
) -> float:
    """How much a network's function changes when its weights are moved by random elements of the spec's group.

    The inputs are the examples and multiples of them over six decades, so that bounded activations are driven beyond
    their bounds; integers (token ids) and booleans (masks) stay as they are. Everything runs in float64 on copies, even
    what the module turns to float32 on its way; the module is not changed.

    Args:
        module: the network. It may return tensors, or tensors in tuples, lists, mappings, dataclasses or pytrees.
        spec: the description under test; it is right if the error is of the order of rounding.
        example_inputs: what the module is called with: a tuple of positional arguments, a mapping of keyword arguments,
            the pair of both, or a single tensor.
        elements: how many group elements are tried.
        log_scale: positive scales reach from `10**-log_scale` to `10**log_scale`.
        seed: of the group elements, of random weights, and of the module's own draws, which are the same in each call.
        training: leave each part of the module in the mode it is in, instead of evaluation mode. A dropout of units is
            then no symmetric function: it drops the same places, whichever units stand there.
        randomise: put random values into every parameter of the spec first: weights that are zero or equal, as after
            initialisation, hide errors. Variances are positive, and each block keeps its size.

    Raises:
        ShapeError: the spec describes another architecture than the module has, there are no inputs, or the module
            returns something that holds no tensors.
        DataError: no elements, or scales out of range.
        SpecError: inputs of another form.

    Example:
        >>> from weightspace.spec import spec_of
        >>> module = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> function_error(module, spec_of(module), torch.randn(5, 2)) < 1e-9
        True
    """
    trial = _Trial.of(module, spec, example_inputs, seed, training)
    x = trial.random() if randomise else trial.own()
    return max(found.error for found in trial.deviations(x, trial.elements(elements, log_scale)).values())


def function_changes(
    module: nn.Module,
    spec: NetworkSpec,
    example_inputs: Inputs,
    *,
    elements: int = ELEMENTS,
    log_scale: float = 2.0,
    seed: int = 0,
    tolerance: float | None = None,
) -> tuple[Change, ...]:
    """How much a network's function changes at inputs of each size, beside what rounding may cause.

    What `assert_function_preserved` asserts of the network's own weights, as numbers; arguments and errors as there and
    in `function_error`.

    Returns:
        The changes by decade of the inputs, ascending; one where the inputs hold nothing that can be multiplied.

    Example:
        >>> from weightspace.spec import spec_of
        >>> module = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> changes = function_changes(module, spec_of(module), torch.randn(5, 2))
        >>> [change.decade for change in changes if change.telling and change.error <= change.allowed]
        [-3, -2, -1, 0, 1, 2, 3]
    """
    trial = _Trial.of(module, spec, example_inputs, seed, training=False)
    return trial.changes(trial.own(), trial.elements(elements, log_scale), tolerance)


def assert_function_preserved(
    module: nn.Module,
    spec: NetworkSpec,
    example_inputs: Inputs,
    *,
    log_scale: float = 2.0,
    seed: int = 0,
    training: bool = False,
    randomise: bool = True,
    tolerance: float | None = None,
) -> None:
    """Assert that moving a network's weights by elements of the spec's group leaves its function as it is.

    It is tried at the network's own weights and, as these may be special, at random ones.

    Args:
        module: the network; see `function_error` for it and for the arguments that are not listed here.
        spec: the description under test.
        example_inputs: what the module is called with.
        log_scale: positive scales reach from `10**-log_scale` to `10**log_scale`.
        seed: of all draws.
        training: leave each part of the module in the mode it is in.
        randomise: try random weights as well.
        tolerance: the largest error that passes; `None` takes `tolerance_of` float64 at the conditioning of the
            network's function in its weights, for each decade of inputs on its own. Inputs at which rounding alone may
            cause errors above 1e-2 are left out: they tell nothing.

    Raises:
        AssertionError: a larger error, or no inputs that tell anything. The message tells the error, the tolerance,
            the inputs, the seed, and which axis alone causes the largest error with the parameters that follow it.
        ShapeError: as for `function_error`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> chain = lambda activation: nn.Sequential(nn.Linear(2, 8), activation, nn.Linear(8, 1))
        >>> x = torch.randn(5, 2)
        >>> assert_function_preserved(chain(nn.ReLU()), spec_of(chain(nn.ReLU())), x)
        >>> assert_function_preserved(chain(nn.GELU()), spec_of(chain(nn.ReLU())), x)
        Traceback (most recent call last):
        ...
        AssertionError: the function changes with its own weights: error ... Axis '0' (POSITIVE) alone ...
    """
    trial = _Trial.of(module, spec, example_inputs, seed, training)
    g = trial.elements(ELEMENTS, log_scale)
    trial.hold("its own weights", trial.own(), g, tolerance)
    if randomise:
        trial.hold("random weights", trial.random(), g, tolerance)


@dataclass(frozen=True)
class _Trial:
    """One network in double precision with the inputs it is called with."""

    module: nn.Module
    spec: NetworkSpec
    calls: Mapping[int, Inputs]
    seed: int

    @classmethod
    def of(cls, module: nn.Module, spec: NetworkSpec, inputs: Inputs, seed: int, training: bool) -> "_Trial":
        module = copy.deepcopy(module).double()
        return cls(module if training else module.eval(), spec, _decades(inputs), seed)

    def elements(self, count: int, log_scale: float) -> Element:
        if count < 1 or not 0 <= log_scale <= 20:
            raise DataError(f"elements is {count} and log_scale {log_scale:g}; expected at least 1, and 0 to 20.")
        return sample_element(self.spec, count, generator=torch.Generator().manual_seed(self.seed), log_scale=log_scale)

    def own(self) -> WeightFeatures:
        """The network's weights as they are."""
        return features_of(self.spec, self.module)

    def random(self) -> WeightFeatures:
        """Random weights of the sizes of the network's own."""
        generator = torch.Generator().manual_seed(self.seed)
        own = self.own()
        return WeightFeatures(
            self.spec, [_redrawn(p, t, generator) for p, t in zip(self.spec.params, own.tensors, strict=True)]
        )

    def deviations(self, x: WeightFeatures, g: Element) -> dict[int, Deviation]:
        """For each decade of inputs, the largest deviation of a network moved by an element from the network `x`."""
        plain = self.answers(x)
        worst = dict.fromkeys(plain, Deviation(0.0))
        for row in range(len(g)):
            moved = self.answers(act(g[row : row + 1], x))
            for decade, answer in plain.items():
                worst[decade] = max(worst[decade], deviation(answer, moved[decade]), key=lambda found: found.error)
        return worst

    def answers(self, x: WeightFeatures) -> dict[int, Any]:
        """What the network with the weights `x` makes of each decade of inputs."""
        (module,) = x.to_modules(self.module)
        return {decade: self._answer(module, inputs) for decade, inputs in self.calls.items()}

    def _answer(self, module: nn.Module, inputs: Inputs) -> Any:
        positional, keywords = arguments_of(inputs)
        devices = list(range(torch.cuda.device_count()))
        with torch.random.fork_rng(devices), torch.no_grad(), double_precision():
            torch.manual_seed(self.seed)
            return module(*positional, **keywords)

    def changes(self, x: WeightFeatures, g: Element, tolerance: float | None) -> tuple[Change, ...]:
        """For each decade of inputs the largest change by the elements, and what is allowed."""
        if tolerance is not None and not tolerance >= 0:
            raise DataError(f"tolerance is {tolerance:g}; expected zero or more, such as 1e-9.")
        changes = []
        for decade, found in self.deviations(x, g).items():
            allowed = self._rounding(x, decade) if tolerance is None else tolerance
            telling = allowed < MEANINGLESS or tolerance is not None
            changes.append(Change(decade, found.error, found.where, allowed, telling))
        return tuple(changes)

    def _rounding(self, x: WeightFeatures, decade: int) -> float:
        """The error that rounding of the weights may cause at one decade of inputs."""
        one = _Trial(self.module, self.spec, {decade: self.calls[decade]}, self.seed)
        return tolerance_of(torch.float64, conditioning_of(one.answers, x, torch.float64, seed=self.seed))

    def hold(self, weights: str, x: WeightFeatures, g: Element, tolerance: float | None) -> None:
        """Raise `AssertionError` where the function of the network `x` changes by more than is allowed."""
        changes = self.changes(x, g, tolerance)
        telling = [change for change in changes if change.telling]
        if not telling:
            raise AssertionError(
                f"with {weights} rounding alone changes the function by more than {MEANINGLESS:g} at all inputs "
                f"{[_told(change) for change in changes]}, so nothing can be told; give other inputs, or a tolerance."
            )
        wrong = [change for change in telling if not change.error <= change.allowed]
        if wrong:
            worst = max(wrong, key=lambda change: change.error)
            raise AssertionError(
                f"the function changes with {weights}: error {worst.error:.2g} at {worst.where} > "
                f"tolerance {worst.allowed:.2g} ({_told(worst)}, seed {self.seed}). {self._blame(x, g)}"
            )

    def _blame(self, x: WeightFeatures, g: Element) -> str:
        """Which axis changes the function most when nothing else is moved, and the parameters that follow it."""
        if not g.axes:
            return "No axis of the spec moves: the module itself answers differently each time it is called."
        alone = {axis.name: self._error_alone(axis.name, x, g) for axis in g.axes}
        worst = max(alone, key=lambda name: alone[name])
        legs = [
            f"{param.name!r} {list(leg.powers)}"
            for param in self.spec.params
            for leg in param.legs
            if leg.axis == worst
        ]
        return (
            f"Axis {worst!r} ({self.spec.axis(worst).symmetry}) alone causes {alone[worst]:.2g}; it is carried, with "
            f"these powers, by {', '.join(legs)}."
        )

    def _error_alone(self, axis: str, x: WeightFeatures, g: Element) -> float:
        still = identity(self.spec, len(g)).parts
        one = Element(g.axes, {name: part if name == axis else still[name] for name, part in g.parts.items()})
        return max(found.error for found in self.deviations(x, one).values())


def _told(change: Change) -> str:
    return f"inputs times 1e{change.decade}"


def _decades(inputs: Inputs) -> dict[int, Inputs]:
    """The examples times powers of ten; once where they hold nothing that can be multiplied."""
    inputs = arguments_of(inputs)
    if not any(inputs):
        raise ShapeError("function_error needs at least one example input to call the module with.")
    if not any(_real(leaf) for leaf in pytree.tree_leaves(inputs)):
        return {0: inputs}
    return {decade: scaled(inputs, 10.0**decade) for decade in DECADES}


def _real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _redrawn(param: ParamSpec, tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Random values for one block, of the size that its own have; zeros get the size of an initialisation."""
    normal = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
    size = tensor.square().mean().sqrt()
    fan_in = tensor[0, ..., 0].numel() / tensor.shape[1] if len(param.legs) > 1 else 4
    size = torch.where(size > 0, size, fan_in**-0.5)
    # Logarithmically normal: a variance stands below a root.
    return size * (torch.exp(normal / 2) if param.role == "variance" else normal)
