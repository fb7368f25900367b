"""Random networks: the same for the same seed, whole in every part, and without values that hide errors."""

import subprocess
import sys

import pytest
import torch
from hypothesis import find, given, settings
from torch import nn

from weightspace.errors import SpecError, UnknownNameError
from weightspace.spec import ACTIVATIONS, spec_of
from weightspace.testing import Blueprint, Layer, assert_function_preserved, random_module
from weightspace.testing.network import PLAIN, SKIPS, Applied, Concatenation, ResidualSum
from weightspace.testing.strategy import blueprints, networks


def kinds(module: nn.Module) -> set[type]:
    return {type(part) for part in module.modules()}


def test_seeds() -> None:
    state = torch.get_rng_state()
    one, other = random_module(3), random_module(3)
    assert repr(one[0]) == repr(other[0])
    assert torch.equal(one[0](*one[1]), other[0](*other[1]))
    assert len({repr(random_module(seed)[0]) for seed in range(20)}) > 15
    assert torch.equal(state, torch.get_rng_state())


def test_every_kind_is_drawn() -> None:
    drawn = set().union(*(kinds(random_module(seed, spatial=range(4))[0]) for seed in range(60)))
    assert {nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm2d, ResidualSum, Concatenation} <= drawn
    assert {ACTIVATIONS[name].module for name in PLAIN} <= drawn
    plain = set().union(
        *(kinds(random_module(seed, spatial=(0,), skips=("none",), norms=False)[0]) for seed in range(20))
    )
    assert not {nn.BatchNorm1d, ResidualSum, Concatenation, nn.Conv1d} & plain


@pytest.mark.parametrize("seed", range(10))
def test_limits_are_kept(seed: int) -> None:
    module, (x,) = random_module(
        seed, depth=(2, 2), width=(4, 4), kernel=(2, 2), spatial=(2,), activations=("abs",), skips=("none",)
    )
    convolutions = [part for part in module if isinstance(part, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [(4, 4, (2, 2))] * 2
    assert sum(isinstance(part, Applied) for part in module) == 2
    assert module(x).shape == (len(x), 4)


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("spatial", range(4))
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_every_blueprint_runs(spatial: int, skip: str, kernel: int) -> None:
    layer = Layer(3, "prelu", kernel=kernel, norm=True, skip=skip)
    module, inputs = Blueprint(2, (layer, layer), 2, spatial).build(1)
    assert module(*inputs).shape == (4, 2)
    assert not module.training
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() > 1:
            assert tensor.unique().numel() == tensor.numel()
            assert (tensor != 0).all()
    assert all((part.running_var > 0).all() for part in module.modules() if hasattr(part, "running_var"))


def test_blueprints_print_as_they_are_typed() -> None:
    blueprint = Blueprint(2, (Layer(3, "tanh", skip="sum"),), 1)
    assert eval(repr(blueprint)) == blueprint


def test_wrong_blueprints_are_refused() -> None:
    with pytest.raises(UnknownNameError, match='did you mean "sum"'):
        Blueprint(1, (Layer(1, skip="summ"),), 1)
    with pytest.raises(UnknownNameError, match='did you mean "relu"'):
        Blueprint(1, (Layer(1, "rellu"),), 1)
    with pytest.raises(SpecError, match="4 spatial dimensions; expected 0"):
        Blueprint(1, (), 1, spatial=4)


@settings(max_examples=12, deadline=None)
@given(network=networks())
def test_any_network_keeps_its_function(network: tuple[nn.Module, tuple[torch.Tensor, ...]]) -> None:
    module, inputs = network
    assert_function_preserved(module, spec_of(module, inputs), inputs)


def test_failing_networks_are_made_small() -> None:
    def wide_sum(blueprint: Blueprint) -> bool:
        return any(layer.skip == "sum" and layer.width > 2 for layer in blueprint.layers)

    found = find(blueprints(), wide_sum)
    assert (found.inputs, found.outputs, found.spatial) == (1, 1, 0)
    assert found.layers[-1] == Layer(3, PLAIN[0], bias=False, skip="sum")


def test_random_modules_need_no_hypothesis() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import weightspace.testing as t; t.random_module(0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_hypothesis_the_strategy_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import weightspace.testing.strategy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: weightspace.testing.strategy draws networks with Hypothesis" in done.stderr
    assert "pip install hypothesis" in done.stderr
