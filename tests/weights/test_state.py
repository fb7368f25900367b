"""Networks to features and back, bit for bit, in every form that they come in."""

import copy
from collections.abc import Callable

import pytest
import torch
from tests.laws.registry import MODULES
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from weightspace.errors import ShapeError
from weightspace.spec import FIXED, PERMUTATION, SIGN, Axis, Leg, NetworkSpec, ParamSpec, View, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures, features_of
from weightspace.weights.state import stacked_state

OUT, IN = Axis("o", 4, PERMUTATION), Axis("i", 2, FIXED)
PACKED = NetworkSpec(
    (Axis("q", 2, SIGN), Axis("v", 3, SIGN), IN),
    (
        ParamSpec("query", (Leg("q", (1,)), Leg("i")), "weight", View("weight", (7, 2), 0, (2, 1))),
        ParamSpec("value", (Leg("v", (1,)), Leg("i")), "weight", View("weight", (7, 2), 8, (2, 1))),
    ),
)
NORMED = NetworkSpec(
    (OUT, IN),
    (
        ParamSpec("weight", (Leg("o"), Leg("i")), "weight", View("0.weight")),
        ParamSpec("gain", (Leg("o"),), "gain", View("1.weight")),
        ParamSpec("mean", (Leg("o"),), "mean", View("1.running_mean")),
    ),
)


class Noted(nn.Sequential):
    """A module whose state dict holds something that is no tensor."""

    def get_extra_state(self) -> str:
        return "a note"

    def set_extra_state(self, state: str) -> None:
        assert state == "a note"


def normed(seed: int = 0) -> nn.Module:
    """A chain with buffers of floats and integers, everything different from the next one's."""
    torch.manual_seed(seed)
    module = Noted(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    module(torch.randn(6 + seed, 2))
    nn.init.uniform_(module[1].weight)
    return module


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = stacked_state(a), stacked_state(b)
    return all(torch.equal(left[key], right[key]) and left[key].dtype == right[key].dtype for key in left | right)


def bits(x: WeightFeatures, y: WeightFeatures) -> bool:
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(x.tensors, y.tensors, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODULES)
def test_all_forms_hold_the_same(name: str, dtype: torch.dtype) -> None:
    spec = spec_of(MODULES[name][0])
    modules = random_features(spec, 3).to_modules(copy.deepcopy(MODULES[name][0]).to(dtype))
    x = features_of(spec, modules)
    assert x.dtype == dtype
    for form in (iter(modules), stacked_state(modules), stack_module_state(modules), x.to_state()):
        assert bits(features_of(spec, form), x)
    assert bits(WeightFeatures.cat([features_of(spec, module) for module in modules]), x)
    for before, after in zip(modules, x.to_modules(modules[0]), strict=True):
        assert same(before, after)


def test_no_loop_over_stacked_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    state = stacked_state([normed(seed) for seed in range(3)])
    monkeypatch.setattr(torch, "stack", None)
    monkeypatch.setattr(Tensor, "__iter__", None)
    x = features_of(NORMED, state)
    assert x["gain"].data_ptr() == state["1.weight"].data_ptr()
    assert x.to_state()["1.weight"].data_ptr() == state["1.weight"].data_ptr()


def test_what_the_spec_does_not_cover_travels_along() -> None:
    modules = [normed(seed) for seed in range(3)]
    x = features_of(NORMED, modules)
    for before, after in zip(modules, x.to_modules(modules), strict=True):
        assert same(before, after)
    for after in x.to_modules(modules[0])[1:]:
        assert torch.equal(after[1].running_var, modules[0][1].running_var)
        assert not torch.equal(after[1].running_mean, modules[0][1].running_mean)
    with pytest.raises(ShapeError, match="2 templates for 3 networks"):
        x.to_modules(modules[:2])


def rest_of(modules: list[nn.Module]) -> dict[str, object]:
    return {"modules": modules, "state": stacked_state(modules), "pair": stack_module_state(modules)}


@pytest.mark.parametrize("form", ["modules", "state", "pair"])
def test_a_complete_state_runs(form: str) -> None:
    modules, points = [normed(seed).eval() for seed in range(3)], torch.randn(5, 2)
    state = features_of(NORMED, modules).to_state(rest=rest_of(modules)[form])
    assert list(state) == list(rest_of(modules)[form] if form == "state" else state)
    calls = torch.vmap(lambda one: functional_call(modules[0], one, points))(state)
    for call, module in zip(calls, modules, strict=True):
        torch.testing.assert_close(call, module(points))


def test_one_rest_for_all() -> None:
    modules = [normed(seed) for seed in range(3)]
    state = features_of(NORMED, modules).to_state(rest=modules[1])
    assert state["3.weight"].shape == (3, 1, 4)
    assert torch.equal(state["3.weight"][2], modules[1][3].weight)
    state["3.weight"][0].zero_()
    assert state["3.weight"][1].any()
    with pytest.raises(ShapeError, match=r"'0.bias' of the rest has shape \(2, 4\) for 3 networks"):
        features_of(NORMED, modules).to_state(rest=modules[:2])


def test_parts_of_a_packed_tensor() -> None:
    modules = [nn.Linear(2, 7) for _ in range(3)]
    x = features_of(PACKED, modules)
    state = x.map(torch.neg).to_state(rest=modules)
    for row, module in enumerate(modules):
        assert torch.equal(state["weight"][row][[0, 1, 4, 5, 6]], -module.weight[[0, 1, 4, 5, 6]])
        assert torch.equal(state["weight"][row][2:4], module.weight[2:4])
    for before, after in zip(modules, x.to_modules(modules), strict=True):
        assert same(before, after)
    assert torch.equal(x.to_modules(modules[1])[0].weight[2:4], modules[1].weight[2:4])
    with pytest.raises(ShapeError, match="covers only parts of 'weight'"):
        x.to_state()
    with pytest.raises(ShapeError, match=r"'weight' of the rest has shape \(8, 2\)"):
        x.to_state(rest=nn.Linear(2, 8))


def channels_last(module: nn.Module) -> nn.Module:
    return module.to(memory_format=torch.channels_last)


def transposed(module: nn.Module) -> nn.Module:
    """Every matrix stored with its second dimension first."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.transpose(0, 1).contiguous().transpose(0, 1)
    return module


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


@pytest.mark.parametrize("stored", [channels_last, transposed, frozen])
@pytest.mark.parametrize("name", ["cnn-relu", "cnn-flattened", "tanh"])
def test_every_way_of_storing(name: str, stored: Callable[[nn.Module], nn.Module]) -> None:
    """A view of a tensor that does not lie in order is a copy: what is written into it must not be lost."""
    template = stored(copy.deepcopy(MODULES[name][0]))
    x = random_features(spec_of(template), 2).to(torch.float32)
    modules = x.to_modules(template)
    assert bits(features_of(x.spec, modules), x)
    for before, after in zip(template.parameters(), modules[1].parameters(), strict=True):
        assert (after.stride(), after.requires_grad) == (before.stride(), before.requires_grad)


def test_packed_tensors_that_do_not_lie_in_order() -> None:
    template = transposed(nn.Linear(2, 7))
    x = random_features(PACKED, 2).to(torch.float32)
    modules = x.to_modules(template)
    assert bits(features_of(PACKED, modules), x)
    assert torch.equal(modules[1].weight[2:4], template.weight[2:4])
    by_columns = {"weight": torch.randn(2, 7, 3).mT.contiguous().mT[..., :2]}
    x = features_of(PACKED, by_columns)
    assert torch.equal(x["value"][..., 0], by_columns["weight"][:, 4:])
    assert torch.equal(x.to_state(rest=by_columns)["weight"], by_columns["weight"])


def test_gradients_pass_through_stacked_states_alone() -> None:
    state = {"weight": torch.randn(3, 7, 2, requires_grad=True)}
    again = features_of(PACKED, state).map(lambda t: 2 * t).to_state(rest=state)["weight"]
    (gradient,) = torch.autograd.grad(again.sum(), state["weight"])
    expected = torch.full((3, 7, 2), 2.0)
    expected[:, 2:4] = 1
    assert torch.equal(gradient, expected)
    assert not features_of(PACKED, nn.Linear(2, 7))["query"].requires_grad
    (module,) = random_features(PACKED, 1).map(lambda t: t.requires_grad_()).to_modules(nn.Linear(2, 7))
    assert module.weight.is_leaf


def test_every_parameter_keeps_its_own_type() -> None:
    """As in networks of half precision whose normalisations stay in single precision."""
    module = normed().to(torch.bfloat16)
    module[1].float()
    x = features_of(NORMED, module)
    assert (x["weight"].dtype, x["mean"].dtype, x.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert same(x.to_modules(module)[0], module)


class Other:
    """Nothing that holds weights."""


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (lambda: [], "no networks"),
        (lambda: iter(()), "no networks"),
        (lambda: iter([normed(), Other()]), "network 1 is a Other; expected a module"),
        (lambda: [normed(), stacked_state(normed())], "1 modules and 1 state dicts"),
        (lambda: [stacked_state(normed()), stacked_state(normed())], "stands in two of the state dicts"),
        (lambda: [normed(), normed().double()], r"network 1 is torch.float64 on cpu, that of network 0 torch.float32"),
        (lambda: [normed(), normed().to("meta")], r"network 1 is torch.float32 on meta"),
        (lambda: [normed(), nn.Sequential(nn.Linear(2, 4))], "network 1 has no parameter '1.weight'"),
    ],
)
def test_what_is_no_batch_is_refused(networks: Callable[[], object], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        features_of(NORMED, networks())


def test_integers_never_enter() -> None:
    counted = NetworkSpec((), (ParamSpec("count", (), "weight", View("1.num_batches_tracked")),))
    with pytest.raises(ShapeError, match=r"holds torch.int64; features are real"):
        features_of(counted, normed())


def test_a_space_without_parameters_has_no_features() -> None:
    with pytest.raises(ShapeError, match="no parameters"):
        features_of(NetworkSpec((), ()), normed())


def test_a_writer_that_loses_what_it_writes_is_caught() -> None:
    """The mutant writes into the view that `View.of` gives of the module's own tensor."""
    template, x = transposed(nn.Linear(2, 7)), random_features(PACKED, 1).to(torch.float32)
    view = PACKED.param("value").view
    view.of(template.weight.detach()[None], (3, 2)).copy_(x["value"][..., 0])
    assert not bits(features_of(PACKED, template), x)
