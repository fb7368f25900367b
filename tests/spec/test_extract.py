"""From modules to specs: what is found, that it is true, what is said of the rest, and what is refused."""

import copy
import gc
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.laws.registry import mlp
from tests.spec.rows import ROWS, Row, S, X, chain, free, two
from torch import nn

from weightspace.errors import SpecError
from weightspace.spec import FIXED, NONZERO, POSITIVE, SIGN, NetworkSpec, register_activation, spec_of
from weightspace.spec.activations import ACTIVATIONS
from weightspace.spec.certificate import certify
from weightspace.testing import function_error
from weightspace.weights import features_of

COMPLETE = [name for name, row in ROWS.items() if row.complete]


@pytest.mark.parametrize("name", ROWS)
def test_every_row(name: str) -> None:
    """The symmetries are those of the table, true without any check of the extractor's own, and nothing is doubted."""
    row = ROWS[name]
    spec = spec_of(row.module, row.inputs, strict=True, verify=False)
    assert free(spec) == row.found
    assert_wires_fit_their_places(spec)
    assert largest_error(row, spec) < 1e-9
    assert len(features_of(spec, row.module)) == 1
    assert not any("taken back" in note.reason for note in spec_of(row.module, row.inputs).notes)


def largest_error(row: Row, spec: NetworkSpec) -> float:
    """At the module's own weights and at random ones, under group elements with scales over four decades."""
    training = row.module.training
    return max(
        function_error(row.module, spec, row.inputs, training=training, randomise=randomise)
        for randomise in (False, True)
    )


@pytest.mark.parametrize("name", COMPLETE)
def test_nothing_is_missed(name: str) -> None:
    row = ROWS[name]
    assert certify(spec_of(row.module, row.inputs, verify=False)).missed == 0


def assert_wires_fit_their_places(spec: NetworkSpec) -> None:
    """A parameter that leads from one place to another has legs on the units of both."""
    axis_of = {place.name: place.axis for place in spec.places}
    for wire in spec.wires:
        if wire.param is not None:
            ends = {axis_of[end] for end in (wire.source, wire.target) if end is not None}
            assert ends <= {leg.axis for leg in spec.param(wire.param).legs}, wire


def powers(spec: NetworkSpec, key: str, axis: str) -> list[tuple[int, ...]]:
    """The powers with which a parameter follows an axis, one tuple per leg."""
    return [leg.powers for leg in spec.param(key).legs if leg.axis == axis]


@pytest.mark.parametrize(
    ("name", "key", "axis", "expected"),
    [
        ("linear", "0.weight", "0", [(1,)]),
        ("linear", "0.bias", "0", [(1,)]),
        ("linear", "2.weight", "0", [(-1,)]),
        ("square", "b.weight", "a", [(0, -2)]),
        ("batch norm, training", "0.weight", "0", [(1, 0)]),
        ("rnn, relu", "r.weight_hh_l0", "r", [(1,), (-1,)]),
        ("lstm", "r.weight_hh_l0[2]", "r", [(1,), (1,)]),
        ("tied autoencoder", "a.weight", "a", [(1,)]),
        ("prelu", "1.weight", "0", [(0,)]),
        ("flattened", "3.weight", "0", [(-1,)]),
        ("layer norm", "1.weight", "0", [(1,)]),
        ("layer norm", "0.weight", "0", [(0,)]),
        ("used twice", "c.weight", "a", [(1,), (-1,)]),
    ],
)
def test_powers(name: str, key: str, axis: str, expected: list[tuple[int, ...]]) -> None:
    row = ROWS[name]
    assert powers(spec_of(row.module, row.inputs), key, axis) == expected


def test_batch_norm_has_a_factor_ahead_and_one_behind() -> None:
    """Ahead: kernel, bias and mean follow, the gain against, the variance not; behind: gain and shift follow."""
    row = ROWS["batch norm"]
    spec = spec_of(row.module, row.inputs)
    (axis,) = spec.free_axes
    assert sorted(axis.symmetry.factors) == ["positive", "positive", "sign"]
    found = {key: powers(spec, key, "0")[0] for key in ("0.weight", "0.bias", "1.running_mean", "1.running_var")}
    found |= {key: powers(spec, key, "0")[0] for key in ("1.weight", "1.bias", "3.weight")}
    sign, ahead, behind = (list(numbers) for numbers in zip(*found.values(), strict=True))
    assert sign == [1, 1, 1, 0, 1, 0, 0]
    assert ahead == [1, 1, 1, 0, -1, 0, 0]
    assert behind == [0, 0, 0, 0, 1, 1, -1]


def test_a_depthwise_channel_has_two_factors() -> None:
    row = ROWS["depthwise"]
    spec = spec_of(row.module, row.inputs)
    kernel, first, last = (powers(spec, key, "0")[0] for key in ("2.weight", "0.weight", "4.weight"))
    assert {tuple(sum(p) for p in zip(kernel, first, last, strict=True))} == {(0, 0)}
    assert sorted(first) == [0, 1]


def test_one_activation_object_serves_several_layers() -> None:
    relu = nn.ReLU()
    shared = chain(nn.Linear(2, 3), relu, nn.Linear(3, 3), relu, nn.Linear(3, 1))
    assert spec_of(shared) == spec_of(mlp((2, 3, 3, 1), nn.ReLU()))


def test_a_parameter_without_numbers_is_named() -> None:
    module = nn.Linear(3, 2)
    module.register_parameter("empty", nn.Parameter(torch.zeros(0, 3)))
    module.forward = lambda x: nn.functional.linear(x, torch.cat([module.weight, module.empty]))
    with pytest.raises(SpecError, match=r"parameter 'empty' of shape \(0, 3\) holds no numbers; leave it out"):
        spec_of(module)


def test_a_layer_may_be_called_input() -> None:
    module = nn.Sequential(OrderedDict(input=nn.Linear(2, 3), act=nn.ReLU(), output=nn.Linear(3, 1)))
    spec = spec_of(module)
    assert [(axis.size, axis.symmetry) for axis in spec.free_axes] == [(3, POSITIVE)]
    assert spec.shape("input.weight") == (3, 2)


def test_positions_behind_a_flattened_map_are_fixed() -> None:
    spec = spec_of(chain(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 1, 3, 3))
    assert spec.shape("3.weight") == (2, 3, 4)
    assert spec.axis("3.position").symmetry == FIXED


def test_units_between_linear_layers_are_named() -> None:
    """Any invertible matrix would do there; the report says so, and only monomial ones are used."""
    spec = spec_of(chain(nn.Linear(3, 4), nn.Linear(4, 2)))
    assert spec.axis("0").symmetry == NONZERO
    assert "any invertible matrix" in spec.report()


# ---- what is read in other ways


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(3, 4),
        chain(nn.Flatten(), nn.Linear(3, 2)),
        nn.Conv1d(2, 3, 5),
        chain(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 26 * 26, 2)),
        nn.Embedding(5, 3),
        nn.GRU(3, 2),
        nn.BatchNorm2d(3),
        nn.LayerNorm((2, 3)),
    ],
)
def test_inputs_are_found(module: nn.Module) -> None:
    assert spec_of(module).params


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # torch.export says it of its own layers
@pytest.mark.parametrize("name", ["linear", "lstm", "two inputs, two outputs", "batch norm", "in place"])
def test_an_archive_gives_the_same_spec(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    inputs = row.inputs if isinstance(row.inputs, tuple | dict) else (row.inputs,)
    keywords, positional = (inputs, ()) if isinstance(inputs, dict) else (None, inputs)
    torch.export.save(torch.export.export(row.module, positional, keywords), tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2")
    spec = spec_of(program, strict=True)
    assert spec == spec_of(row.module, row.inputs)


def test_modules_without_weights() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert spec_of(module) == spec_of(chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    spec_of(module, X)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert module.training
    assert module[1].training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_specs_travel_without_their_module() -> None:
    module = chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    spec = spec_of(module)
    assert "no continuous symmetry is missing" in spec.report(verify=True)
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    with pytest.raises(SpecError, match="does not know the module"):
        again.report(verify=True)
    del module
    gc.collect()
    with pytest.raises(SpecError, match="does not know the module"):
        spec.report(verify=True)


@pytest.fixture
def cubic() -> Iterator[Any]:
    @register_activation(symmetry=SIGN, name="cubic")
    def cubic(x: torch.Tensor) -> torch.Tensor:
        return x + x**3

    yield cubic
    del ACTIVATIONS["cubic"]


def test_registered_activations(cubic: Any) -> None:
    spec = spec_of(two(lambda m, x: m.b(cubic(m.a(x)))), X, strict=True)
    assert free(spec) == "a:4 SIGN"
    assert {place.activation for place in spec.places} == {"identity", "cubic"}


# ---- what is refused


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (nn.ReLU(), X, "ReLU has no parameters"),
        (chain(), X, "no parameters"),
        (nn.Linear(3, 2), 3, "example inputs of type int; give a tensor, a tuple"),
        (nn.Linear(3, 2), S.transpose(1, 2), r"does not accept example inputs of shapes \[\(5, 3, 4\)\]"),
        (nn.Linear(3, 2), {"y": X}, "does not accept example inputs.*unexpected keyword"),
        (two(lambda m, x, y: m.b(m.a(x)) + y), None, "no inputs were found that Net accepts; call spec_of"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_refused(module: nn.Module, inputs: Any, message: str, strict: bool) -> None:
    with pytest.raises(SpecError, match=message):
        spec_of(module, inputs, strict=strict)


def test_one_chain_in_full() -> None:
    spec = spec_of(mlp((2, 3, 1), nn.ReLU()))
    assert [(axis.name, axis.size, axis.symmetry) for axis in spec.axes] == [
        ("input", 2, FIXED),
        ("0", 3, POSITIVE),
        ("2", 1, FIXED),
    ]
    assert [(wire.param, wire.source, wire.target) for wire in spec.wires] == [
        ("0.weight", "input", "0"),
        ("0.bias", None, "0"),
        ("2.weight", "0", "2"),
        ("2.bias", None, "2"),
    ]
