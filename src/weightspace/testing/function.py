"""Whether a network computes the same after its weights were moved: the proof that a spec is right."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError
from weightspace.spec import Element, NetworkSpec, ParamSpec, identity, sample_element
from weightspace.spec.precision import double_precision, scaled
from weightspace.testing.orbit import MEANINGLESS, Deviation, conditioning_of, deviation, tolerance_of
from weightspace.weights import WeightFeatures, act, features_of

__all__ = ["assert_function_preserved", "function_error"]

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
DECADES = range(-3, 4)
ELEMENTS = 4


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
            or a single tensor.
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

    Example:
        >>> from weightspace.spec import spec_of
        >>> module = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> function_error(module, spec_of(module), torch.randn(5, 2)) < 1e-9
        True
    """
    trial = _Trial.of(module, spec, example_inputs, seed, training)
    x = trial.random() if randomise else trial.own()
    return max(found.error for found in trial.deviations(x, trial.elements(elements, log_scale)).values())


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
    calls: Mapping[str, Inputs]
    seed: int

    @classmethod
    def of(cls, module: nn.Module, spec: NetworkSpec, inputs: Inputs, seed: int, training: bool) -> "_Trial":
        module = copy.deepcopy(module).double()
        return cls(module if training else module.eval(), spec, _decades(inputs), seed)

    def elements(self, count: int, log_scale: float) -> Element:
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

    def deviations(self, x: WeightFeatures, g: Element) -> dict[str, Deviation]:
        """For each of the inputs, the largest deviation of a network moved by an element from the network `x`."""
        plain = self.answers(x)
        worst = dict.fromkeys(plain, Deviation(0.0))
        for row in range(len(g)):
            moved = self.answers(act(g[row : row + 1], x))
            for name, answer in plain.items():
                worst[name] = max(worst[name], deviation(answer, moved[name]), key=lambda found: found.error)
        return worst

    def answers(self, x: WeightFeatures) -> dict[str, Any]:
        """What the network with the weights `x` makes of each of the inputs."""
        (module,) = x.to_modules(self.module)
        return {name: self._answer(module, inputs) for name, inputs in self.calls.items()}

    def _answer(self, module: nn.Module, inputs: Inputs) -> Any:
        devices = list(range(torch.cuda.device_count()))
        with torch.random.fork_rng(devices), torch.no_grad(), double_precision():
            torch.manual_seed(self.seed)
            return module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)

    def tolerances(self, x: WeightFeatures) -> dict[str, float]:
        """For each of the inputs, the error that rounding of the weights may cause; infinite where it is any error."""
        tolerances = {}
        for name in self.calls:
            one = _Trial(self.module, self.spec, {name: self.calls[name]}, self.seed)
            conditioning = conditioning_of(one.answers, x, torch.float64, seed=self.seed)
            allowed = tolerance_of(torch.float64, conditioning)
            tolerances[name] = allowed if allowed < MEANINGLESS else math.inf
        return tolerances

    def hold(self, weights: str, x: WeightFeatures, g: Element, most: float | None) -> None:
        """Raise `AssertionError` where the function of the network `x` changes by more than is allowed."""
        tolerances = self.tolerances(x) if most is None else dict.fromkeys(self.calls, most)
        telling = [name for name, tolerance in tolerances.items() if tolerance < math.inf]
        if not telling:
            raise AssertionError(
                f"with {weights} rounding alone changes the function by more than {MEANINGLESS:g} at all inputs "
                f"{list(self.calls)}, so nothing can be told; give other inputs, or a tolerance."
            )
        found = self.deviations(x, g)
        wrong = [name for name in telling if not found[name].error <= tolerances[name]]
        if wrong:
            name = max(wrong, key=lambda name: found[name].error)
            raise AssertionError(
                f"the function changes with {weights}: error {found[name].error:.2g} at {found[name].where} > "
                f"tolerance {tolerances[name]:.2g} ({name}, seed {self.seed}). {self._blame(x, g)}"
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


def _decades(inputs: Inputs) -> dict[str, Inputs]:
    """The examples times powers of ten; once where they hold nothing that can be multiplied."""
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if not len(inputs):
        raise ShapeError("function_error needs at least one example input to call the module with.")
    inputs = dict(inputs) if isinstance(inputs, Mapping) else tuple(inputs)
    if not any(_real(leaf) for leaf in pytree.tree_leaves(inputs)):
        return {"the inputs": inputs}
    return {f"inputs times 1e{decade}": scaled(inputs, 10.0**decade) for decade in DECADES}


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
