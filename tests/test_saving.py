"""Models come back from disk as they were, to the bit; whatever else is found there is refused with a reason."""

import copy
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import torch as files
from tests.conftest import Refuse
from tests.laws.registry import SPECS
from tests.laws.test_model import ANSWER, CLASSES, EDITORS, GRAPHS, MODELS, READERS, TOLD, Make, made, networks
from torch import nn

from weightspace import models
from weightspace.errors import FormatError, StorageError, UnknownNameError
from weightspace.models import NP, Edit, FlatMLP, Invariant, MonomialNFN, Readout, StatNN, load, save
from weightspace.models import saving as module
from weightspace.models.construction import arguments, remember
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures, flatten

WIRED = ("siren", "relu", "cnn-tanh")
NETWORKS = (
    *WIRED,
    "recurrent-sign",
    "two-factors",
)  # polynomials and graphs need the wires, which specs by hand leave out
ROWS = [
    (m, n, r)
    for m in MODELS
    for n in (WIRED if m in ("MAGEPNFN", "NGGNN", *GRAPHS) else NETWORKS)
    for r in (ANSWER, Edit(0.5))
]
ROWS = [(m, n, r) for m, n, r in ROWS if (m not in READERS or r == ANSWER) and n in TOLD.get(m, NETWORKS)]
BOTH = [(m, r) for m in MODELS for r in (ANSWER, Edit()) if (m, "siren") in EDITORS or r == ANSWER]
SPEC = SPECS["relu"]


def answer(model: nn.Module, x: WeightFeatures) -> torch.Tensor:
    y = model(x)
    return flatten(y) if isinstance(y, WeightFeatures) else y


def equal(one: nn.Module, other: nn.Module, x: WeightFeatures) -> bool:
    return torch.equal(answer(one, x), answer(other, x))


def small(seed: int = 0) -> MonomialNFN:
    torch.manual_seed(seed)
    return MonomialNFN(SPEC, ANSWER, stem=(4,), trunk=()).eval()


def described(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text())


def rewrite(folder: Path, change: Callable[[dict], object]) -> None:
    """Another description, as a person with an editor would leave it."""
    plain = described(folder)
    change(plain)
    (folder / "model.json").write_text(json.dumps(plain))


def retensor(folder: Path, change: Callable[[dict], object]) -> None:
    """Other tensors under a checksum that fits, as another version of a class would have written them."""
    tensors = files.load((folder / "model.safetensors").read_bytes())
    change(tensors)
    content = files.save(tensors)
    (folder / "model.safetensors").write_bytes(content)
    rewrite(folder, lambda plain: plain["weights"].update(sha256=sha256(content).hexdigest(), bytes=len(content)))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that nobody changes."""
    folder = tmp_path_factory.mktemp("saved")
    save(small(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A saved model, for one test."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize(("model", "name", "readout"), ROWS)
def test_a_model_computes_the_same_to_the_bit(tmp_path: Path, model: str, name: str, readout: Readout) -> None:
    spec = SPECS[name]
    network = made(model, spec, readout)
    save(network, tmp_path)
    again = load(tmp_path)
    assert type(again) is type(network)
    assert equal(network, again, networks(spec))
    assert arguments(again) == arguments(network)
    assert arguments(again)["spec"].to_json() == spec.to_json()
    assert [(n, p.requires_grad) for n, p in again.named_parameters()] == [
        (n, True) for n, _ in again.named_parameters()
    ]


@pytest.mark.parametrize(("model", "readout"), BOTH)
def test_a_loaded_model_differs_from_a_fresh_one(tmp_path: Path, model: str, readout: Readout) -> None:
    """The law above can fail: the constructor alone does not bring the answers back."""
    network = made(model, SPEC, readout)
    torch.manual_seed(1)
    assert not equal(network, MODELS[model](SPEC, readout).double().eval(), networks(SPEC))


@pytest.mark.parametrize(("model", "readout"), BOTH)
def test_copies_can_be_saved(tmp_path: Path, model: str, readout: Readout) -> None:
    spec = SPECS["siren-two-layers"]
    network = made(model, spec, readout)
    save(copy.deepcopy(pickle.loads(pickle.dumps(network))), tmp_path)
    assert equal(network, load(tmp_path), networks(spec))


@pytest.mark.parametrize(
    "model", [NP(SPEC, ANSWER, channels=(4, 3)), MonomialNFN(SPEC, ANSWER, stem=(4,), trunk=(4,), fourier=2)]
)
def test_widths_and_frequencies_come_back(tmp_path: Path, model: nn.Module) -> None:
    """Numbers in a row stay a tuple, and frequencies that were drawn stay those."""
    save(model.double().eval(), tmp_path)
    again = load(tmp_path)
    assert arguments(again) == arguments(model)
    assert equal(model, again, networks(SPEC))


@pytest.mark.parametrize("kind", CLASSES)
def test_presets_can_be_saved(tmp_path: Path, kind: type[nn.Module]) -> None:
    network = kind.preset("demo", SPEC, models.Invariant(3, hidden=8, dropout=0.25)).eval()
    save(network, tmp_path)
    assert equal(network, load(tmp_path), networks(SPEC).to(torch.float32))
    assert load(tmp_path).train().state_dict().keys() == network.state_dict().keys()


def test_every_model_of_the_package_can_be_saved() -> None:
    public = {
        name
        for name in models.__all__
        if isinstance(kind := getattr(models, name), type) and issubclass(kind, nn.Module)
    }
    assert public == set(module.MODELS) == {kind.__name__ for kind in CLASSES}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_precision_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    network = small().to(dtype)
    save(network, tmp_path)
    kept = {name: tensor.dtype for name, tensor in load(tmp_path).state_dict().items()}
    assert kept == {name: tensor.dtype for name, tensor in network.state_dict().items()}


def test_buffers_that_a_state_dict_leaves_out_are_kept(tmp_path: Path) -> None:
    """Codes of positions that went through half precision are rounded; a constructor would make them anew."""
    network = made("NP", SPEC).to(torch.bfloat16).double()
    save(network, tmp_path)
    again, fresh = load(tmp_path), made("NP", SPEC)
    assert torch.equal(again.encode.code0, network.encode.code0)
    assert not torch.equal(fresh.encode.code0, network.encode.code0)
    assert equal(network, again, networks(SPEC))


def test_modes_are_kept(tmp_path: Path) -> None:
    network = small().train()
    network.head[0].eval()
    save(network, tmp_path)
    again = load(tmp_path)
    assert [m.training for m in again.modules()] == [m.training for m in network.modules()]
    assert {m.training for m in again.modules()} == {True, False}


def test_training_goes_on_the_same(tmp_path: Path) -> None:
    """Loaded tensors are the model's own: they can be changed, and the file stays what it was."""
    network, x = small().train().double(), networks(SPEC, 8)
    save(network, tmp_path)
    before, again = (tmp_path / "model.safetensors").read_bytes(), load(tmp_path)
    for model in (network, again):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimiser.zero_grad()
            model(x).square().mean().backward()
            optimiser.step()
    assert equal(network.eval(), again.eval(), x)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_random_numbers_are_left_alone(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load(folder)
    save(load(folder), folder)
    assert torch.equal(torch.rand(2), expected)


def test_the_defaults_of_the_process_do_not_matter(folder: Path) -> None:
    x = networks(SPEC).to(torch.float32)
    expected = answer(load(folder), x)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            again = load(folder)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(answer(again, x), expected)


def test_another_process_computes_the_same(tmp_path: Path) -> None:
    """With another seed of Python's hashes, so that no order of a set is left to chance."""
    spec, seen = SPECS["cnn-relu"], {}
    for name in ("NP", "MonomialNFN", "MAGEPNFN"):
        network = made(name, spec)
        save(network, tmp_path / name)
        seen[name] = network(networks(spec)).tolist()
    script = (
        "import json, sys, torch; from pathlib import Path; from weightspace import models; "
        "from weightspace.testing import random_features; torch.set_num_threads(1); out = {}\n"
        "for folder in Path(sys.argv[1]).iterdir():\n"
        "    model = models.load(folder)\n"
        "    x = random_features(model.norm.spec, 4, generator=torch.Generator().manual_seed(0))\n"
        "    out[folder.name] = model(x).tolist()\n"
        "print(json.dumps(out))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = [sys.executable, "-c", script, str(tmp_path)]
    told = subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout
    assert json.loads(told) == seen


def test_the_description_can_be_read(folder: Path) -> None:
    plain = described(folder)
    assert (plain["format"], plain["version"], plain["model"]) == ("weightspace-model", 1, "MonomialNFN")
    assert plain["settings"] == {"stem": [4], "trunk": [], "fourier": 0}
    assert plain["readout"] == {"name": "Invariant", "outputs": 3, "hidden": 8, "dropout": 0.0}
    assert NetworkSpec.from_json(json.dumps(plain["spec"])) == SPEC
    assert plain["training"] == []


def test_nothing_is_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *_, **__: pytest.fail("unpickled"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    load(folder)


# Writing over what is there.


def test_a_model_is_replaced_and_nothing_is_left_behind(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / ".model.json.1f0c.part").write_text("of a killed save")
    network = made("NP", SPECS["siren"])
    save(network, folder)
    assert equal(network, load(folder), networks(SPECS["siren"]))
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "model.safetensors", "notes.txt"]
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("step", "after"), [("fsync", 0), ("fsync", 1), *(("replace", n) for n in range(3))])
def test_a_refused_save_leaves_the_model_that_was_there(folder: Path, refuse: Refuse, step: str, after: int) -> None:
    x = networks(SPEC).to(torch.float32)
    before = answer(load(folder), x)
    refuse(step, errno.ENOSPC, after=after)
    with pytest.raises(StorageError, match="cannot write .*the disk is full"):
        save(small(seed=1), folder)
    assert torch.equal(answer(load(folder), x), before)


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(2))
def test_a_save_after_refused_ones_succeeds(
    folder: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    """Twice refused at any two steps, then not: at every moment the folder holds a whole model."""
    x, real = networks(SPEC).to(torch.float32), os.replace
    before = answer(load(folder), x)
    for seed, after in enumerate((first, second), 1):
        refuse("replace", errno.EACCES, after=after)
        with pytest.raises(StorageError):
            save(small(seed), folder)
        monkeypatch.setattr(os, "replace", real)
        assert torch.equal(answer(load(folder), x), before)
    save(small(seed=3), folder)
    assert torch.equal(answer(load(folder), x), answer(small(seed=3), x))
    assert len(list(folder.iterdir())) == 2


def test_the_law_catches_a_save_that_sets_nothing_aside(
    folder: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: refused between its two files, it leaves neither the old model nor the new one."""
    monkeypatch.setattr(module, "_set_aside", lambda _: None)
    refuse("replace", errno.ENOSPC, after=1)
    with pytest.raises(StorageError):
        save(small(seed=1), folder)
    with pytest.raises(FormatError, match="damaged, missing or of another model"):
        load(folder)


def test_a_first_save_that_was_killed_is_done_again(
    tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace
    refuse("replace", errno.EIO, after=1)
    with pytest.raises(StorageError):
        save(small(), tmp_path)
    with pytest.raises(FormatError, match=r"no model in .*: model\.json cannot be read \(No such file"):
        load(tmp_path)
    monkeypatch.setattr(os, "replace", real)
    save(small(), tmp_path)
    assert equal(load(tmp_path), small(), networks(SPEC).to(torch.float32))


@pytest.mark.parametrize("content", [b"mine", b'{"format": "another"}', b"[]"])
@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "model.before.safetensors"])
def test_files_of_others_are_not_replaced(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=rf"{name} is there already and is not from weightspace\.models\.save"):
        save(small(), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {name: content}


def test_weights_of_others_are_not_replaced(tmp_path: Path) -> None:
    content = files.save({"weight": torch.ones(2)}, {"format": "pt"})
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="Remedy: save into another folder"):
        save(small(), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == content


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="a part of that path is a file"):
        save(small(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(FormatError, match="Expected the folder that weightspace.models.save was given"):
        load(tmp_path / "file")


# What cannot be saved.


class Own(NP):
    pass


def namesake() -> nn.Module:
    return type("NP", (NP,), {})(SPEC, ANSWER, channels=(2,))


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(2, 3), lambda: Own(SPEC, ANSWER), namesake, lambda: nn.Sequential(small())]
)
def test_other_modules_are_not_saved(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UnknownNameError, match=r"cannot save a .*: expected a model of the package \(DeepSets.*Remedy"):
        save(make(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_readouts_of_ones_own_are_not_saved(tmp_path: Path) -> None:
    class Twice(Invariant):
        pass

    with pytest.raises(UnknownNameError, match=r"cannot save the readout .*Twice.*: expected one of Edit, Invariant"):
        save(StatNN(SPEC, Twice(2)), tmp_path)


def test_a_model_that_does_not_know_its_settings_is_not_saved(tmp_path: Path) -> None:
    network = small()
    del network.built_with
    with pytest.raises(FormatError, match="this MonomialNFN does not know what it was built with.*load its state_dict"):
        save(network, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.ones(2)])
def test_settings_that_json_cannot_hold_are_named(tmp_path: Path, value: object) -> None:
    network = small()
    network.built_with["stem"] = value
    with pytest.raises(FormatError, match="cannot save stem=.* of MonomialNFN as JSON"):
        save(network, tmp_path)
    with pytest.raises(FormatError, match="cannot save initial=nan of readout as JSON"):
        save(FlatMLP(SPEC, Edit(float("nan"))), tmp_path)


def test_a_model_changed_by_hand_is_not_saved(folder: Path) -> None:
    """It could not be loaded, and later nobody could put it right."""
    network, before = small(seed=1), (folder / "model.json").read_bytes()
    network.head[7] = nn.Linear(8, 5)
    network.head[1].bias = None
    network.more = nn.Linear(1, 1)
    told = r"head\.1\.bias is missing; more\.weight is not expected; more\.bias is not expected and 2 more"
    with pytest.raises(
        FormatError, match=f"tensors of this model are not those that its class and settings make: {told}"
    ):
        save(network, folder)
    assert (folder / "model.json").read_bytes() == before


# What cannot be loaded.


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no model in .*nowhere: model\.json cannot be read"):
        load(tmp_path / "nowhere")


def test_missing_tensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(FormatError, match=r"model\.safetensors is damaged, missing .*no such file.*sha256.*Remedy"):
        load(folder)


def test_every_truncation_and_every_flipped_byte_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 997)]
    for damaged in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], whole + b"\0", *flipped):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=rf"is damaged.*\({len(damaged):,} bytes\): expected {len(whole)} bytes"):
            load(folder)
    path.write_bytes(whole)
    load(folder)


def test_the_law_catches_a_reader_without_checksum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: it takes a flipped bit for a weight."""
    monkeypatch.setattr(module, "_fits", lambda path, _: path.exists())
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    load(folder)


def test_tensors_of_another_model(folder: Path, tmp_path: Path) -> None:
    save(small(seed=1), tmp_path / "other")
    os.replace(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(FormatError, match="or of another model"):
        load(folder)


def test_tensors_in_no_safetensors_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"text")
    rewrite(folder, lambda plain: plain["weights"].update(sha256=sha256(b"text").hexdigest()))
    with pytest.raises(FormatError, match=r"model\.safetensors is not a safetensors file"):
        load(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"weights: 3"])
def test_a_description_that_is_no_json(folder: Path, text: bytes) -> None:
    (folder / "model.json").write_bytes(text)
    with pytest.raises(FormatError, match=r"model\.json is not JSON .*Remedy: save the model again"):
        load(folder)


def test_every_truncated_description_is_noticed(folder: Path) -> None:
    whole = (folder / "model.json").read_bytes().rstrip()
    for length in range(0, len(whole), 101):
        (folder / "model.json").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"model\.json is not JSON"):
            load(folder)


@pytest.mark.parametrize("plain", [[], 3, None, {}, {"format": "weightspace-zoo", "version": 1}])
def test_json_that_describes_no_model(folder: Path, plain: object) -> None:
    (folder / "model.json").write_text(json.dumps(plain))
    with pytest.raises(FormatError, match='does not describe a model: expected an entry "format": "weightspace-model"'):
        load(folder)


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_format_number(folder: Path, version: object) -> None:
    rewrite(folder, lambda plain: plain.update(version=version, weightspace="9.9"))
    with pytest.raises(
        FormatError, match=f"has model format {version!r}, written by weightspace '9.9'.*reads format 1"
    ):
        load(folder)


def test_a_model_of_a_later_format_is_not_lost_either(
    folder: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(folder, lambda plain: plain.update(version=2))
    refuse("replace", errno.ENOSPC, after=2)
    with pytest.raises(StorageError):
        save(small(seed=1), folder)
    rewrite(folder, lambda plain: plain.update(version=1))
    assert equal(load(folder), small(), networks(SPEC).to(torch.float32))


@pytest.mark.parametrize("entry", ["model", "readout", "settings", "training", "spec", "weights"])
def test_entries_that_are_missing_or_of_another_kind(folder: Path, entry: str) -> None:
    rewrite(folder, lambda plain: plain.update({entry: 3}))
    with pytest.raises(FormatError, match=f"the entry '{entry}' of .* is 3: expected a (str|dict|list)"):
        load(folder)
    rewrite(folder, lambda plain: plain.pop(entry))
    with pytest.raises(FormatError, match=f"the entry '{entry}' of .* is missing"):
        load(folder)


@pytest.mark.parametrize("name", ["monomialNFN", "torch.nn.Linear", "os.system", "Invariant", "__class__", ""])
def test_models_that_do_not_exist(folder: Path, name: str) -> None:
    rewrite(folder, lambda plain: plain.update(model=name))
    with pytest.raises(UnknownNameError, match=rf"unknown model in .*model\.json '{name}'.*Valid names: DeepSets"):
        load(folder)


@pytest.mark.parametrize("name", ["invariant", None, "NP", ["Edit"]])
def test_readouts_that_do_not_exist(folder: Path, name: object) -> None:
    rewrite(folder, lambda plain: plain["readout"].update(name=name))
    with pytest.raises(UnknownNameError, match=r"unknown readout in .*Valid names: Edit, Invariant"):
        load(folder)


def test_settings_that_the_class_does_not_take(folder: Path) -> None:
    rewrite(folder, lambda plain: plain["settings"].update(stme=[4]))
    with pytest.raises(UnknownNameError, match="unknown setting of MonomialNFN in .* 'stme': did you mean \"stem\""):
        load(folder)
    rewrite(folder, lambda plain: (plain["settings"].pop("stme"), plain["readout"].update(output=4)))
    with pytest.raises(UnknownNameError, match="unknown setting of Invariant in .* 'output': did you mean \"outputs\""):
        load(folder)


@pytest.mark.parametrize("name", ["spec", "readout", "self"])
def test_settings_cannot_bring_their_own_spec(folder: Path, name: str) -> None:
    rewrite(folder, lambda plain: plain["settings"].update({name: 3}))
    with pytest.raises(
        UnknownNameError, match=f"unknown setting of MonomialNFN in .* '{name}'.*Valid names: fourier, stem, trunk"
    ):
        load(folder)


@pytest.mark.parametrize("value", ["four", 4, ["four"], [-4], None, {"a": 1}])
def test_values_that_the_class_does_not_take(folder: Path, value: object) -> None:
    rewrite(folder, lambda plain: plain["settings"].update(stem=value))
    with pytest.raises(FormatError, match=r"MonomialNFN cannot be built with stem=(?s:.*)trunk=(?s:.*)Remedy"):
        load(folder)


def test_readouts_that_cannot_be(folder: Path) -> None:
    rewrite(folder, lambda plain: plain["readout"].update(outputs=0))
    with pytest.raises(
        FormatError, match=r"Invariant cannot be built with outputs=0.*outputs and hidden of at least 1"
    ):
        load(folder)
    rewrite(folder, lambda plain: plain["readout"].pop("outputs"))
    with pytest.raises(FormatError, match="Invariant cannot be built with hidden=8"):
        load(folder)


def test_a_readout_that_the_model_cannot_give(tmp_path: Path) -> None:
    save(made("StatNN", SPEC), tmp_path)
    rewrite(tmp_path, lambda plain: plain.update(readout={"name": "Edit"}))
    with pytest.raises(FormatError, match="StatNN keeps statistics only"):
        load(tmp_path)


def test_a_spec_that_is_none(folder: Path) -> None:
    rewrite(folder, lambda plain: plain["spec"].pop("axes"))
    with pytest.raises(FormatError, match="the entry 'spec' of .* describes no networks: .*axes"):
        load(folder)


WRONG: list[tuple[Callable[[dict], object], str]] = [
    (lambda t: t.pop("norm.rms"), r"norm\.rms is missing"),
    (lambda t: t.update(more=torch.ones(1)), "more is not expected"),
    (
        lambda t: t.update({"norm.rms": torch.ones(1)}),
        r"norm\.rms is numbers of shape \(1,\), expected numbers of shape \(6,\)",
    ),
    (
        lambda t: t.update({"norm.rms": torch.ones(6, dtype=torch.int64)}),
        r"norm\.rms is int64 of shape \(6,\), expected",
    ),
    (lambda t: t.clear(), "is missing; .* is missing; .* is missing and [0-9]+ more"),
]


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_tensors_that_do_not_fit(folder: Path, change: Callable[[dict], object], told: str) -> None:
    retensor(folder, change)
    with pytest.raises(FormatError, match=rf"the tensors of .*model\.safetensors are not those .*{told}.*Remedy"):
        load(folder)


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_the_law_catches_a_loader_that_does_not_compare(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], object], told: str
) -> None:
    """The mutant: no clear error, whatever else happens."""
    retensor(folder, change)
    monkeypatch.setattr(module, "_compare", lambda *_: None)
    clear = False
    try:
        load(folder)
    except FormatError:
        clear = True
    except (KeyError, RuntimeError):
        pass
    assert not clear


# Remembering.


def test_the_outermost_constructor_counts() -> None:
    class Inner(nn.Module):
        @remember
        def __init__(self, width: int, *, layers: int = 3) -> None:
            super().__init__()

    class Outer(Inner):
        @remember
        def __init__(self, half: int) -> None:
            super().__init__(2 * half)

    class Plain(Inner):
        pass

    assert arguments(Outer(4)) == {"half": 4}
    assert arguments(Plain(4, layers=1)) == {"width": 4, "layers": 1}
    assert "built_with" not in Outer(4).state_dict()


@pytest.mark.parametrize("make", [*MODELS.values(), NP])
def test_arguments_are_remembered_however_they_are_given(make: Make) -> None:
    network = make(SPEC, ANSWER)
    assert (arguments(network)["spec"], arguments(network)["readout"]) == (SPEC, ANSWER)
    assert arguments(type(network)(readout=ANSWER, spec=SPEC)).keys() == arguments(network).keys()
