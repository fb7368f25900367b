"""Models that ask networks: all networks at once answer as each by itself, whatever they are made of."""

import copy
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tests.laws.registry import MODULES, SPECS, mlp
from tests.laws.test_model import ANSWER, TOLD, WIRED, WRITTEN, networks
from tests.oracles.answer import asked
from torch import nn

from weightspace.errors import ShapeError, SpecError, UnknownNameError, WeightspaceError
from weightspace.experiments.choice import ModelChoice, fit_scale
from weightspace.gauge.phase import phases, shift_phases
from weightspace.models import FunctionProbe, load, save
from weightspace.models.answer import Answers, Dense, _steps
from weightspace.spec import NetworkSpec, spec_of
from weightspace.testing import invariance_error, random_features
from weightspace.weights import WeightFeatures
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate import architecture, cnn, inr, policy, sdf, siren, template, wild
from weightspace.zoo.generate.template import describe

LAYERS = (wild.Layer(3, 5, 2, "tanh", False), wild.Layer(3, 3, 1, "relu", True))
CHAIN = {"0.weight": [4, 2], "0.bias": [4], "2.weight": [1, 4], "2.bias": [1]}


def described(recipe: str, module: nn.Module, read: tuple[int, ...], forward: dict, **settings: object) -> Manifest:
    spec = spec_of(module.eval(), torch.zeros(1, *read))
    return Manifest(spec=spec, recipe=recipe, settings=settings, forward=forward)


def of_siren(**told: object) -> Manifest:
    settings = siren.SirenSettings(hidden=(5, 4), omega=3.0)
    forward = siren.forward_pass(settings) | told
    return described("siren", siren.siren(settings, 3), (2,), forward, **asdict(settings))


def of_inr(encoding: str) -> Manifest:
    settings = inr.InrSettings(encoding, hidden=(5,), features=3 if encoding != "plain" else None)
    return described("inr", inr.inr(settings), (2,), inr.forward_pass(settings), **asdict(settings))


def of_cnn(activation: str) -> Manifest:
    settings = cnn.CnnSettings(activation=activation)
    forward = cnn.forward_pass(settings) | {"classes": 10}
    return described("cnn", cnn.cnn(settings), (1, 32, 32), forward, **asdict(settings))


def of_wild() -> Manifest:
    forward = {"classes": 4, "pixel_range": [-1.0, 1.0], "input_shape": [1, 8, 8]}
    module = wild.ConvolutionalNetwork(LAYERS, 4)
    return described("wild", module, (1, 8, 8), forward, layers=[asdict(layer) for layer in LAYERS])


def of_mlp() -> Manifest:
    settings = architecture.MlpSettings((5, 4), "gelu")
    forward = {"classes": 3, "input_shape": [6]}
    return described("mlp", architecture.mlp(settings, 6, 3), (6,), forward, **asdict(settings))


def of_transformer() -> Manifest:
    settings = architecture.TransformerSettings(4, 2, 6, 1)
    forward = {"classes": 3, "input_shape": [4, 4]}
    module = architecture.Transformer(settings, 4, 4, 3)
    return described("transformer", module, (4, 4), forward, **asdict(settings))


def of_policy() -> Manifest:
    settings = policy.PolicySettings(hidden=(5,))
    return described("policy", policy.policy(settings), (4,), policy.forward_pass(settings), **asdict(settings))


def of_sdf() -> Manifest:
    settings = sdf.SdfSettings(hidden=(5,))
    kept = {name: value for name, value in asdict(settings).items() if isinstance(value, int | float | str | tuple)}
    return described("sdf", sdf.sdf(settings), (3,), {"input": "a point"}, **kept)


def of_chain() -> Manifest:
    record = {"kind": "chain", "activation": "sine:omega=3", "shapes": CHAIN}
    module = template(Manifest(spec=SPECS["siren"], recipe="dws-siren", settings={"template": record}))
    forward = {"coordinates": "column, row", "coordinate_range": [-1.0, 1.0]}
    return described("dws-siren", module, (2,), forward, template=record)


MANIFESTS: Mapping[str, Callable[[], Manifest]] = {
    "siren": of_siren,
    "inr, plain": lambda: of_inr("plain"),
    "inr, positional": lambda: of_inr("positional"),
    "cnn, relu": lambda: of_cnn("relu"),
    "cnn, tanh": lambda: of_cnn("tanh"),
    "wild": of_wild,
    "mlp": of_mlp,
    "transformer": of_transformer,
    "policy": of_policy,
    "sdf": of_sdf,
    "chain": of_chain,
}


def small(spec: NetworkSpec, batch: int = 3) -> WeightFeatures:
    """Weights of a size at which rounding is not magnified."""
    return networks(spec, batch).map(lambda tensor: 0.5 * tensor)


@pytest.mark.parametrize("name", MANIFESTS)
def test_all_networks_at_once_answer_as_each_by_itself(name: str) -> None:
    manifest = MANIFESTS[name]()
    answers, x = Answers(manifest.spec, describe(manifest)), small(manifest.spec)
    inputs = answers.inputs.draw(4).double()
    assert inputs.shape[1:] == answers.inputs.shape
    slow = asked(template(manifest), x, inputs)
    assert slow.shape == (3, 4, answers.outputs)
    assert torch.allclose(answers(x, inputs), slow, rtol=1e-10, atol=1e-10)
    with torch.no_grad():  # many of them, in parts
        many = WeightFeatures.cat([x] * 30)
        assert torch.allclose(answers(many, inputs), slow.repeat(30, 1, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", TOLD["FunctionProbe"])
def test_chains_are_read_off_their_specs(name: str) -> None:
    module, shape = MODULES[name]
    answers, x = Answers(SPECS[name]), small(SPECS[name])
    inputs = torch.randn(4, *shape, dtype=torch.float64)
    slow = asked(copy.deepcopy(module), x, inputs)
    assert torch.allclose(answers(x, inputs), slow, rtol=1e-10, atol=1e-10)


def test_activations_one_behind_another_are_read_off_a_spec() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Tanh(), nn.Linear(3, 1), nn.Sigmoid())
    spec = spec_of(module)
    x, inputs = small(spec), torch.randn(4, 2, dtype=torch.float64)
    assert torch.allclose(Answers(spec)(x, inputs), asked(module, x, inputs))


def test_another_description_is_another_function() -> None:
    """The twin would tell: a frequency that is off by a hundredth, a stride, an activation that is left out."""
    manifest = of_siren()
    plain = describe(manifest)
    plain["settings"]["omega"] = 3.03
    x, inputs = small(manifest.spec), torch.randn(4, 2, dtype=torch.float64)
    slow = asked(template(manifest), x, inputs)
    assert (Answers(manifest.spec, plain)(x, inputs) - slow).abs().max() > 1e-3
    answers = Answers(manifest.spec)
    answers._steps = [step for step in answers._steps if isinstance(step, Dense)]
    assert (answers(x, inputs) - slow).abs().max() > 1e-2


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 3, groups=1), nn.Conv2d(4, 6, 2, groups=2), nn.Conv2d(1, 2, 2, 2)])
def test_convolutions_of_every_kind(layer: nn.Conv2d) -> None:
    """Groups, strides, paddings and dilations, ahead of others and behind them."""
    behind = nn.Conv2d(layer.out_channels, 4, 2, padding="same", groups=2, dilation=2, bias=False)
    round_about = nn.Conv2d(4, 3, 2, padding=1, padding_mode="circular")
    module = nn.Sequential(layer, nn.Tanh(), nn.MaxPool2d(2), behind, nn.ReLU(), round_about, nn.Flatten())
    spec = spec_of(module.eval(), torch.zeros(1, layer.in_channels, 9, 9))
    answers, x = of_module(spec, module), small(spec)
    inputs = torch.randn(5, layer.in_channels, 9, 9, dtype=torch.float64)
    assert torch.allclose(answers(x, inputs), asked(module, x, inputs), rtol=1e-10, atol=1e-10)


def of_module(spec: NetworkSpec, module: nn.Module) -> Answers:
    """The answers of any module, which no manifest describes."""
    answers = Answers.__new__(Answers)
    answers.spec, answers.network, answers._template = spec, None, module
    answers._steps = _steps(module, "", {param.view.key for param in spec.params})
    return answers


@pytest.mark.parametrize("name", ["cnn, relu", "cnn, tanh", "inr, positional", "wild", "policy"])
def test_invariant(name: str) -> None:
    manifest = MANIFESTS[name]()
    torch.manual_seed(0)
    model = FunctionProbe(manifest.spec, ANSWER, network=describe(manifest), probes=4).double().eval()
    model.norm.fit(small(manifest.spec, 5))
    assert invariance_error(model, manifest.spec, log_scale=4, batch=2) < 1e-9


def test_a_probe_of_hidden_units_is_caught() -> None:
    """What hidden units answer follows the symmetry: the law holds for outputs alone."""
    spec = SPECS["tanh"]
    answers, inputs = Answers(spec), torch.randn(4, 2, dtype=torch.float64)
    assert invariance_error(lambda x: answers(x, inputs), spec) < 1e-9
    answers._steps = answers._steps[:-1]
    assert invariance_error(lambda x: answers(x, inputs), spec) > 1e-2


def test_invariant_to_more_than_the_spec_knows() -> None:
    """Shifts of phases by half turns, which are no element of the group."""
    spec = SPECS["siren"]
    model, x = FunctionProbe(spec, ANSWER).double().eval(), small(spec)
    shifted = shift_phases(x, {place: torch.ones_like(turns) for place, turns in phases(x).items()})
    assert (flat(shifted) - flat(x)).abs().max() > 0.01
    assert torch.allclose(model(shifted), model(x), rtol=1e-10, atol=1e-10)


def flat(x: WeightFeatures) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in x.tensors])


@pytest.mark.parametrize("name", ["siren", "cnn, tanh"])
def test_probes_and_head_are_all_that_is_trained(name: str) -> None:
    manifest = MANIFESTS[name]()
    model = FunctionProbe(manifest.spec, ANSWER, network=describe(manifest), probes=2).double().eval()
    names = [key for key, _ in model.named_parameters()]
    assert [key for key in names if not key.startswith("head.")] == ["probes"]
    x, weights = small(manifest.spec), torch.linspace(0.5, 1.5, 3)
    model(x).mul(weights).sum().backward()
    assert not any(tensor.requires_grad for tensor in x.tensors)
    way = torch.randn_like(model.probes)
    size = 1e-5
    with torch.no_grad():
        middle, ends = model.probes.clone(), []
        for sign in (1, -1):
            model.probes.copy_(middle + sign * size * way)
            ends.append(model(x).mul(weights).sum())
    slope = (ends[0] - ends[1]) / (2 * size)
    assert torch.allclose((model.probes.grad * way).sum(), slope, rtol=1e-5)


@pytest.mark.parametrize("name", [*WIRED, *WRITTEN, "cnn-relu", "cnn-flattened", "conv-last", "depthwise", "encoder"])
def test_what_a_spec_does_not_tell_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"the spec alone does not tell.*Remedy: .*network=zoo.generate.describe"):
        FunctionProbe(SPECS[name], ANSWER)


def test_a_chain_with_something_beside_it_is_refused() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.gain = nn.Linear(3, 3), nn.Linear(3, 3), nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).tanh()) * self.gain

    with pytest.raises(SpecError, match="does not tell"):
        Answers(spec_of(Beside(), torch.zeros(1, 3)))
    softmax = nn.Sequential(nn.Linear(2, 3), nn.Softmax(-1), nn.Linear(3, 1))
    with pytest.raises(SpecError, match="units of '0' have the symmetry PERMUTATION, and 'identity' alone would let"):
        Answers(spec_of(softmax))


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda plain: plain.pop("recipe"), SpecError, "damaged.*recipe"),
        (lambda plain: plain.update(settings=3), SpecError, "damaged"),
        (lambda plain: plain["settings"].update(hidden=[5, "x"]), SpecError, "damaged"),
        (lambda plain: plain.update(recipe="sirne"), UnknownNameError, 'did you mean "siren"'),
        (lambda plain: plain["settings"].update(hidden=[5, 3]), ShapeError, "the same networks"),
        (lambda plain: plain["settings"].update(hidden=[5]), ShapeError, "the same networks"),
        (lambda plain: plain["forward"].update(coordinate_range=3), SpecError, "forward pass.*damaged"),
        (lambda plain: plain.update(settings={"template": {"kind": "module", "name": "x"}}), SpecError, "module 'x'"),
    ],
)
def test_descriptions_that_do_not_fit(change: Callable[[dict], object], error: type, told: str) -> None:
    manifest = of_siren()
    plain = describe(manifest)
    change(plain)
    with pytest.raises(error, match=told):
        FunctionProbe(manifest.spec, ANSWER, network=plain)


def test_networks_that_read_nothing_that_is_told_are_refused() -> None:
    manifest = of_wild()
    plain = describe(manifest)
    plain["forward"] = {"classes": 4}
    with pytest.raises(SpecError, match="does not say what the networks read"):
        Answers(manifest.spec, plain)
    with pytest.raises(WeightspaceError, match="probes is 0; expected at least 1"):
        FunctionProbe(SPECS["siren"], ANSWER, probes=0)


def test_probes_start_where_the_networks_were_made_for() -> None:
    torch.manual_seed(0)
    of = {name: Answers(m.spec, describe(m)).inputs.draw(4000) for name, m in ((n, f()) for n, f in MANIFESTS.items())}
    for name in ("siren", "inr, positional", "sdf", "chain"):
        assert of[name].abs().max() <= 1
        assert of[name].std() == pytest.approx(3**-0.5, rel=0.03)
    elsewhere = of_siren(coordinate_range=[0.0, 4.0])
    drawn = Answers(elsewhere.spec, describe(elsewhere)).inputs.draw(4000)
    assert 0 <= drawn.min() < 0.01
    assert 3.99 < drawn.max() <= 4
    for name, deviation in (("cnn, relu", 0.5), ("wild", 0.5), ("policy", 1.0), ("mlp", 1.0)):
        assert of[name].std() == pytest.approx(deviation, rel=0.03)
    assert of["cnn, relu"].shape == (4000, 1, 32, 32)
    assert Answers(SPECS["siren"]).inputs.uniform
    assert not Answers(SPECS["relu"]).inputs.uniform


def test_scales_of_the_answers() -> None:
    spec = spec_of(mlp((2, 5, 3), nn.Tanh()))
    x = random_features(spec, 300)
    model = FunctionProbe(spec, ANSWER).double()
    fit_scale(model, x)
    told = (model.answers(x, model.probes) - model.mean) / model.deviation
    assert torch.allclose(told.mean((0, 1)), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(told.square().mean((0, 1)), torch.ones(3).double())
    kept = model.deviation.clone()
    fit_scale(model, (x[at : at + 70] for at in range(0, 300, 70)))
    assert torch.allclose(model.deviation, kept)
    assert model.norm.rms is model.deviation
    assert model.norm.spec == spec


def test_scales_of_nothing_of_zeros_and_of_what_is_not_finite() -> None:
    spec = SPECS["relu"]
    model, x = FunctionProbe(spec, ANSWER).double(), small(spec)
    model.norm.fit(x.map(torch.zeros_like))
    assert model.deviation.tolist() == [1.0]
    for wrong in ([], x.map(lambda tensor: tensor * torch.inf)):
        with pytest.raises(ShapeError, match="cannot take scales from"):
            model.norm.fit(wrong)
    with pytest.raises(ShapeError, match="features' own spec"):
        model.norm.fit(small(SPECS["tanh"]))


@pytest.mark.parametrize("name", ["inr, positional", "cnn, relu", "wild", "chain"])
def test_described_models_come_back(name: str, tmp_path: Path) -> None:
    manifest = MANIFESTS[name]()
    torch.manual_seed(0)
    model = FunctionProbe(manifest.spec, ANSWER, network=describe(manifest), probes=3).double().eval()
    x = small(manifest.spec)
    model.norm.fit(x)
    save(model, tmp_path)
    for again in (load(tmp_path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(again(x), model(x))
    single = model.float()(x.to(torch.float32))
    assert single.dtype == torch.float32  # also where a module has buffers of its own


def test_chosen_by_name_with_a_description() -> None:
    manifest = of_cnn("relu")
    choice = ModelChoice("FunctionProbe", options={"network": describe(manifest), "probes": 2})
    model = choice.build(manifest.spec, ANSWER, seed=0)
    assert model(small(manifest.spec).to(torch.float32)).shape == (3, 3)
    plain = ModelChoice("FunctionProbe")
    with pytest.raises(SpecError, match="the spec alone does not tell"):
        plain.build(manifest.spec, ANSWER, seed=0)
    assert plain.told(manifest).options == {"network": describe(manifest)}
    assert choice.told(of_siren()) is choice
    assert ModelChoice("NP").told(manifest) == ModelChoice("NP")
    unknown = Manifest(spec=SPECS["siren"], recipe="my own", settings={})
    assert plain.told(unknown) is plain
    assert plain.told(unknown).build(SPECS["siren"], ANSWER, seed=0).answers.network is None
