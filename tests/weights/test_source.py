"""Networks from files and factories: read bit for bit, and every mistake as an error with its remedy."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightspace.errors import DataError, FormatError, ShapeError, SpecError, UnknownNameError, WeightspaceError
from weightspace.spec import FIXED, PERMUTATION, POSITIVE, SIGN, Sine, spec_of
from weightspace.weights import features_of
from weightspace.weights.source import Reading, Source, read_source, read_sources
from weightspace.weights.source.chain import guess_chain
from weightspace.weights.source.factory import call_factory
from weightspace.weights.source.file import read_program, read_state
from weightspace.weights.source.reading import inputs_of

FACTORY = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.ahead, self.behind = nn.Linear(4, 4), nn.Linear(4, 4)
        self.behind.weight = self.ahead.weight

    def forward(self, x):
        return self.behind(torch.tanh(self.ahead(x)))

def mlp():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

def cnn():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

def with_inputs():
    return mlp(), torch.ones(5, 2)

tied = Tied
made = mlp()
number = 3

def odd():
    return "no module"

def broken():
    raise ValueError("no data on this machine")

def leaves():
    raise SystemExit(2)

def lazy():
    return nn.LazyLinear(2)

def meta():
    with torch.device("meta"):
        return mlp()

def empty():
    return nn.ReLU()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of factories."""
    (tmp_path / "factories_of_sources.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "factories_of_sources", raising=False)
    return tmp_path


def named(factory: str) -> str:
    return f"factories_of_sources:{factory}"


def mlp(width: int = 8, activation: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), activation or nn.ReLU(), nn.Linear(width, 1))


def equal(source: Source, module: nn.Module) -> bool:
    """Whether a source has a module's weights, bit for bit."""
    spec = source.spec()
    x, y = source.features(spec), features_of(spec, module)
    return all(torch.equal(a, b) for a, b in zip(x.tensors, y.tensors, strict=True))


# Files with weights.


def save_plain(state: dict[str, torch.Tensor], file: Path) -> None:
    torch.save(state, file)


def save_nested(state: dict[str, torch.Tensor], file: Path) -> None:
    torch.save(
        {"epoch": 3, "optimizer": {"state": {}}, "state_dict": {f"module.{k}": v for k, v in state.items()}}, file
    )


def save_compiled(state: dict[str, torch.Tensor], file: Path) -> None:
    torch.save({"model": {f"module._orig_mod.{k}": v for k, v in state.items()}}, file)


@pytest.mark.parametrize(
    ("suffix", "save"),
    [
        (".pt", save_plain),
        (".pth", save_nested),
        (".bin", save_compiled),
        (".ckpt", save_plain),
        (".safetensors", save_file),
    ],
)
@pytest.mark.parametrize("module", [None, "mlp"])
def test_a_file_gives_the_network_that_was_saved(folder: Path, suffix: str, save, module: str | None) -> None:
    network, file = mlp(), folder / f"network{suffix}"
    save(network.state_dict(), file)
    reading = Reading(activation="relu") if module is None else Reading(module=named(module))
    source = read_source(file, reading)
    assert equal(source, network)
    assert source.spec() == spec_of(network)
    x = torch.randn(5, 2)
    assert torch.equal(source.module(x), network(x))


def test_wrappers_and_guesses_are_told(folder: Path) -> None:
    save_nested(mlp().state_dict(), folder / "network.pt")
    told = read_source("network.pt").spec().report()
    assert "note on the file: the prefix 'module.' is taken off all names" in told
    assert "unverified guess: a chain of 2 layers, read off the shapes in the state dict; activation not known" in told
    assert "PERMUTATION (unknown)" in told
    known = read_source("network.pt", Reading(module=named("mlp"))).spec().report()
    assert "guess" not in known


def test_any_prefix_is_taken_off_where_the_module_says_so(folder: Path) -> None:
    network = mlp()
    torch.save({f"net.{key}": tensor for key, tensor in network.state_dict().items()}, "network.pt")
    source = read_source("network.pt", Reading(module=named("mlp")))
    assert equal(source, network)
    assert "'net.'" in source.notes[0].reason


def test_names_in_a_file_without_an_order_are_sorted_as_numbers(folder: Path) -> None:
    layers = [part for width in range(12) for part in (nn.Linear(2 + width, 3 + width), nn.Tanh())]
    network = nn.Sequential(*layers)
    save_file(network.state_dict(), "network.safetensors")
    assert read_source("network.safetensors", Reading(activation="tanh")).spec() == spec_of(nn.Sequential(*layers[:-1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("reading", [Reading(), Reading(module="factories_of_sources:with_inputs")])
def test_weights_keep_their_type(folder: Path, dtype: torch.dtype, reading: Reading) -> None:
    network = mlp().to(dtype)
    torch.save(network.state_dict(), "network.pt")
    source = read_source("network.pt", reading)
    assert equal(source, network)
    assert source.features(source.spec()).dtype == dtype


def test_tied_tensors_may_be_there_once(folder: Path) -> None:
    network = call_factory(named("tied"))[0]
    state = network.state_dict()
    del state["behind.weight"]
    torch.save(state, "network.pt")
    source = read_source("network.pt", Reading(module=named("tied")))
    assert torch.equal(source.state["behind.weight"], state["ahead.weight"])
    assert source.module.behind.weight is source.module.ahead.weight
    assert set(source.rest(source.spec())) == set()


def test_buffers_and_statistics_come_from_the_file(folder: Path) -> None:
    network = call_factory(named("cnn"))[0]
    with torch.no_grad():
        network[1].running_mean.normal_()
    torch.save(network.state_dict(), "network.pt")
    source = read_source("network.pt", Reading(module=named("cnn")))
    assert equal(source, network)
    assert torch.equal(source.module[1].running_mean, network[1].running_mean)


# Factories.


@pytest.mark.parametrize("factory", ["mlp", "with_inputs", "made"])
def test_a_factory_gives_the_same_network_each_time(factory: str) -> None:
    state = torch.get_rng_state()
    sources = [read_source(named(factory)) for _ in range(2)]
    assert equal(sources[0], sources[1].module)
    assert not sources[0].module.training
    assert torch.equal(torch.get_rng_state(), state)


def test_inputs_come_from_the_reading_the_factory_or_the_first_layer() -> None:
    shapes = [
        tuple(read_source(named(factory), reading).inputs[0].shape)
        for factory, reading in (("with_inputs", Reading(inputs=("7,2",))), ("mlp", Reading()))
    ]
    assert shapes == [(7, 2), (2, 2)]
    assert read_source(named("with_inputs")).inputs.shape == (5, 2)


@pytest.mark.parametrize(
    ("name", "error", "hint"),
    [
        ("factories_of_sources:mpl", UnknownNameError, 'did you mean "mlp"?'),
        ("factories_of_sources:qqq", UnknownNameError, "give the name of a function or class in it"),
        ("factories_of_sources:number", SpecError, "is a int; expected a function or class"),
        ("factories_of_sources:odd", SpecError, "gave a str; expected an nn.Module"),
        ("factories_of_sources:broken", SpecError, "ValueError: no data on this machine"),
        ("factories_of_sources:leaves", SpecError, "SystemExit: 2"),
        ("factories_of_sources:lazy", SpecError, "'weight' of the factory factories_of_sources:lazy has no size yet"),
        ("factories_of_sources:empty", SpecError, "has no parameters"),
        ("no_such_module_at_all:make", SpecError, "there is no module 'no_such_module_at_all'"),
        ("factories_of_sources.py:mlp", SpecError, "Write factories_of_sources:... without the suffix"),
        ("half_a_module:make", SpecError, "importing 'half_a_module' failed: SyntaxError"),
        ("needs_another:make", SpecError, "No module named 'another_that_is_missing'"),
    ],
)
def test_a_factory_that_cannot_be_called_is_an_error(folder: Path, name: str, error: type, hint: str) -> None:
    (folder / "half_a_module.py").write_text("def make(:")
    (folder / "needs_another.py").write_text("import another_that_is_missing")
    with pytest.raises(error) as caught:
        read_source(name)
    assert hint in str(caught.value)
    assert str(folder) not in sys.path


def test_a_module_without_values_can_be_described_and_nothing_more() -> None:
    source = read_source(named("meta"), Reading(inputs=("4,2",)))
    with pytest.raises(DataError, match="meta device"):
        source.features(spec_of(mlp()))


# Exported programs.


def export(module: nn.Module, *shape: int) -> torch.export.ExportedProgram:
    return torch.export.export(module, (torch.randn(*shape),))


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
def test_an_archive_gives_the_network_that_was_exported(folder: Path) -> None:
    network = call_factory(named("cnn"))[0]
    torch.export.save(export(network, 2, 3, 8, 8), "network.pt2")
    source = read_source("network.pt2")
    assert equal(source, network)
    assert source.spec() == spec_of(network, torch.randn(2, 3, 8, 8))
    assert source.spec().notes == spec_of(network, torch.randn(2, 3, 8, 8)).notes


def test_an_archive_keeps_keywords_and_ties(folder: Path) -> None:
    network = call_factory(named("tied"))[0]
    torch.export.save(torch.export.export(network, (torch.randn(2, 4),)), "tied.pt2")
    source = read_source("tied.pt2")
    assert source.spec() == spec_of(network, torch.randn(2, 4))
    assert set(source.rest(source.spec())) == set()
    state = source.module.state_dict(keep_vars=True)
    assert state["behind.weight"] is state["ahead.weight"]

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: torch.Tensor, *, by: torch.Tensor) -> torch.Tensor:
            return self.net(x) * by

    inputs = ((torch.randn(2, 2),), {"by": torch.ones(1)})
    torch.export.save(torch.export.export(Scaled(), *inputs), "both.pt2")
    positional, keywords = read_source("both.pt2").inputs
    assert torch.equal(positional[0], inputs[0][0])
    assert torch.equal(keywords["by"], inputs[1]["by"])


@pytest.mark.parametrize(
    ("names", "reading", "own"),
    [
        (["network.pt2"], Reading(activation="relu"), "brings its own module"),
        (["network.pt2"], Reading(inputs=("2,2",)), "brings its own inputs"),
        ([named("mlp")], Reading(module=named("cnn")), "brings its own module"),
        ([named("mlp"), "network.pt2"], Reading(activation="relu"), "bring their own module"),
    ],
)
def test_what_no_network_takes_is_refused(folder: Path, names: list[str], reading: Reading, own: str) -> None:
    torch.export.save(export(mlp(), 2, 2), "network.pt2")
    with pytest.raises(SpecError, match=own):
        read_sources(names, reading)


def test_each_of_several_networks_takes_what_it_needs(folder: Path) -> None:
    network = mlp()
    torch.export.save(export(network, 2, 2), "network.pt2")
    torch.save(network.state_dict(), "network.pt")
    sources = read_sources(["network.pt2", named("mlp"), "network.pt"], Reading(module=named("mlp"), inputs=("7,2",)))
    assert [equal(source, network) for source in sources] == [True, False, True]
    assert [len(source.inputs[0]) for source in sources[1:]] == [7, 7]


def test_a_guess_takes_the_inputs_that_are_given(folder: Path) -> None:
    torch.save(mlp().state_dict(), "network.pt")
    assert read_source("network.pt", Reading(inputs=("7,2",))).inputs[0].shape == (7, 2)
    with pytest.raises(SpecError, match="does not accept example inputs"):
        read_source("network.pt", Reading(inputs=("7,3",))).spec()


def test_a_pickle_that_torch_does_not_take_apart_is_no_mere_damage(folder: Path) -> None:
    (folder / "network.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FormatError, match="holds more than tensors, and reading that could run code"):
        read_source("network.bin")
    assert not (folder / "boom").exists()


def test_an_archive_may_leave_a_size_open(folder: Path) -> None:
    network, batch = mlp(), torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(network, (torch.randn(4, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(program, "network.pt2")
    assert {param.name for param in read_source("network.pt2").spec().params} == set(network.state_dict())


class Bomb:
    """What an attacker may put into a file."""

    def __reduce__(self):
        return (Path("boom").touch, ())


def rewritten(source: Path, target: Path, ending: str, change) -> None:
    """An archive with one of its entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith(ending) else content)


def bomb(_: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save((Bomb(), {}), buffer)
    return buffer.getvalue()


def object_of(_: bytes) -> bytes:
    return (
        b'{"config": {"a": {"path_name": "opaque_obj_0", "is_param": false, "use_pickle": true, "tensor_meta": null}}}'
    )


def expression(content: bytes) -> bytes:
    return content.replace(
        b'"as_int": 2', b'"as_expr": {"expr_str": "__import__(\'pathlib\').Path(\'boom\').touch()"}', 1
    )


@pytest.mark.parametrize(
    ("ending", "change"),
    [("sample_inputs/model.pt", bomb), ("constants_config.json", object_of), ("models/model.json", expression)],
)
def test_an_archive_is_not_run(folder: Path, ending: str, change) -> None:
    torch.export.save(export(mlp(), 4, 2), "network.pt2")
    rewritten(folder / "network.pt2", folder / "bomb.pt2", ending, change)
    with pytest.raises(FormatError):
        read_program(folder / "bomb.pt2")
    assert not (folder / "boom").exists()


def test_an_archive_that_asks_for_more_than_tensors_would_be_run_by_torch(folder: Path) -> None:
    # The mutant of the test above: without the gate the bomb goes off.
    torch.export.save(export(mlp(), 4, 2), "network.pt2")
    rewritten(folder / "network.pt2", folder / "bomb.pt2", "sample_inputs/model.pt", bomb)
    with pytest.raises(Exception, match=".*"):
        torch.export.load(folder / "bomb.pt2")
    assert (folder / "boom").exists()


# Mistakes in files.


def test_pickled_objects_are_not_run(folder: Path) -> None:
    torch.save({"state_dict": Bomb()}, "bomb.pt")
    with pytest.raises(FormatError, match="could run code"):
        read_state(folder / "bomb.pt")
    (folder / "plain.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FormatError):
        read_state(folder / "plain.bin")
    torch.save(mlp(), "whole.pt")
    with pytest.raises(FormatError, match=r"object of torch.nn.modules.container.Sequential.*state_dict"):
        read_state(folder / "whole.pt")
    assert not (folder / "boom").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pt2"])
@pytest.mark.parametrize("keep", [0, 7, -40])
def test_a_truncated_file_is_named(folder: Path, suffix: str, keep: int) -> None:
    file = folder / f"network{suffix}"
    if suffix == ".pt2":
        torch.export.save(export(mlp(), 4, 2), file)
    else:
        (save_file if suffix == ".safetensors" else torch.save)(mlp(64).state_dict(), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FormatError, match=rf"network{suffix} is damaged or incomplete.*Remedy"):
        read_source(file)


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("list.pt", [torch.zeros(2)], "holds a list; expected a state dict"),
        ("empty.pt", {}, "holds no tensors"),
        ("deep.pt", {"epoch": 3, "name": "relu"}, "holds no tensors"),
        ("two.pt", {"first": {"weight": torch.ones(1)}, "second": {"weight": torch.ones(1)}}, "'first', 'second'"),
        ("sparse.pt", {"weight": torch.eye(3).to_sparse()}, "sparse or quantised"),
        ("network.onnx", {}, "ONNX is not read. Remedy"),
        ("network.h5", {}, "ends in '.h5'; expected .safetensors"),
    ],
)
def test_a_file_without_a_state_dict_is_an_error(folder: Path, name: str, content: object, hint: str) -> None:
    torch.save(content, name)
    with pytest.raises(FormatError) as caught:
        read_source(name)
    assert hint in str(caught.value)
    assert name in str(caught.value)


def test_what_is_not_there_is_an_error(folder: Path) -> None:
    for name, hint in (("nowhere.pt", "does not exist"), ("nowhere.pt2", "does not exist"), (".", "is a folder")):
        with pytest.raises(FormatError, match=hint):
            read_source(name)


@pytest.mark.parametrize(
    ("change", "error", "hint"),
    [
        (lambda s: {**s, "2.bais": s["2.bias"]}, ShapeError, "the nearest that it has is '2.bias'"),
        (lambda s: {k: v for k, v in s.items() if k != "2.bias"}, ShapeError, "lacks '2.bias', which the module"),
        (lambda s: {"0.weight": s["0.weight"]}, ShapeError, "lacks '0.bias' and 2 more"),
        (lambda s: {**s, "0.weight": torch.ones(9, 2)}, ShapeError, "'0.weight' has shape (9, 2), where the module"),
        (lambda s: {**s, "0.weight": s["0.weight"] / 0}, DataError, "not finite"),
    ],
)
def test_a_file_of_another_architecture_is_an_error(folder: Path, change, error: type, hint: str) -> None:
    torch.save(change(mlp().state_dict()), "network.pt")
    reading = Reading(module=named("mlp"))
    with pytest.raises(error) as caught:
        read_source("network.pt", reading).features(spec_of(mlp()))
    assert hint in str(caught.value)


def test_a_module_and_an_activation_exclude_each_other() -> None:
    with pytest.raises(SpecError, match="leave one of the two out"):
        Reading(module=named("mlp"), activation="relu")


@pytest.mark.parametrize("text", ["", "2,x", "0,3", "2,3:float", "-1"])
def test_a_shape_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ShapeError, match="write 2,3,32,32"):
        inputs_of((text,))


def test_inputs_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(SpecError, match="does not accept example inputs of shapes"):
        read_source(named("mlp"), Reading(inputs=("4,3",))).spec()


# Guessed chains.


CHAINS = {
    "mlp": nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)),
    "flattened": nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)),
    "pooled": nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)),
    "volumes": nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 1, bias=False)),
    "depthwise": nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    ),
    "one": nn.Linear(3, 2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_guessed_as_it_was(name: str) -> None:
    network = CHAINS[name]
    chain, x = guess_chain(network.state_dict(), "relu")
    assert list(chain.state_dict()) == list(network.state_dict())
    symmetries = [
        {(axis.size, axis.symmetry) for axis in spec.free_axes} for spec in (spec_of(chain, x), spec_of(network))
    ]
    assert symmetries[0] == symmetries[1]
    assert all(
        torch.equal(a, b) for a, b in zip(chain.state_dict().values(), network.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("activation", "symmetry"),
    [
        (None, PERMUTATION),
        ("relu", POSITIVE),
        ("tanh", SIGN),
        ("sine", SIGN),
        ("gelu", PERMUTATION),
        ("prelu", POSITIVE),
    ],
)
def test_the_activation_decides_what_is_free(activation: str | None, symmetry: object) -> None:
    chain, x = guess_chain(mlp().state_dict(), activation)
    assert {axis.symmetry for axis in spec_of(chain, x).axes} == {FIXED, symmetry}


def test_constants_of_the_activation_are_read() -> None:
    chain, x = guess_chain(mlp().state_dict(), "sine:omega=10")
    places = [place for place in spec_of(chain, x).places if place.activation == "sine"]
    assert places[0].constants == (("omega", 10.0),)
    network = mlp(activation=Sine(10.0))
    network.load_state_dict(chain.state_dict())
    torch.testing.assert_close(chain(x), network(x))


@pytest.mark.parametrize(
    ("activation", "error", "hint"),
    [
        ("rleu", UnknownNameError, 'did you mean "relu"?'),
        ("softmax", UnknownNameError, "unknown activation 'softmax'"),
        ("sine:omgea=3", UnknownNameError, 'did you mean "omega"?'),
        ("sine:omega=fast", SpecError, "write it as sine:omega=1.5"),
    ],
)
def test_an_activation_that_does_not_exist_is_an_error(activation: str, error: type, hint: str) -> None:
    with pytest.raises(error) as caught:
        guess_chain(mlp().state_dict(), activation)
    assert hint in str(caught.value)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 8), nn.Linear(4, 8)


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "'1.running_mean' is neither a weight nor a bias"),
        (nn.BatchNorm1d(4, affine=False), "'running_mean' is neither a weight nor a bias"),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), "'1.weight' of shape (4,) is no weight"),
        (nn.Sequential(nn.Linear(3, 4), nn.PReLU()), "'1.weight' of shape (1,) is no weight"),
        (nn.LSTM(3, 4), "'weight_ih_l0' is neither"),
        (nn.MultiheadAttention(4, 2), "'in_proj_weight' is neither"),
        (nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)), "'1.weight' of shape (2, 4) does not follow '0.weight'"),
        (nn.Sequential(nn.Linear(2, 3), nn.Conv1d(3, 2, 1)), "does not follow"),
        (nn.Sequential(nn.Conv1d(2, 3, 1), nn.Conv2d(3, 2, 1)), "does not follow"),
        (nn.ConvTranspose2d(3, 4, 2), "'bias' has shape (4,), where its weight of shape (3, 4, 2, 2) asks for (3,)"),
        (Residual(), "'narrow.weight' of shape (8, 4) does not follow 'wide.weight' of shape (8, 4)"),
    ],
)
def test_what_is_no_chain_is_refused_with_the_remedy(folder: Path, module: nn.Module, hint: str) -> None:
    torch.save(module.state_dict(), "network.pt")
    with pytest.raises(SpecError) as caught:
        read_source("network.pt")
    assert hint in str(caught.value)
    assert "network.pt" in str(caught.value)
    assert "a factory package.module:factory" in str(caught.value)


def test_every_mistake_is_one_that_the_user_can_put_right() -> None:
    assert all(issubclass(error, WeightspaceError) for error in (DataError, FormatError, ShapeError, SpecError))
