"""Models and adapters as the Hugging Face hub lays them out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from weightspace.errors import FormatError, SpecError
from weightspace.spec import NONZERO
from weightspace.weights import flatten
from weightspace.zoo.generate import modules
from weightspace.zoo.lora import LoRA
from weightspace.zoo.readers import ImportSettings, import_zoo

PREFIX = "base_model.model.model.layers"
SHAPES = {
    f"{PREFIX}.{layer}.self_attn.{name}.{end}": shape
    for layer in range(2)
    for name, sizes in {"q_proj": (6, 5), "v_proj": (4, 5)}.items()
    for end, shape in {"lora_A.weight": (2, sizes[1]), "lora_B.weight": (sizes[0], 2)}.items()
}
CONFIG = {
    "peft_type": "LORA", "base_model_name_or_path": "tiny/base", "r": 2, "lora_alpha": 16, "bias": "none",
    "target_modules": ["q_proj", "v_proj"], "use_dora": False, "use_rslora": False, "modules_to_save": None,
    "rank_pattern": {}, "alpha_pattern": {}, "fan_in_fan_out": False, "task_type": "CAUSAL_LM",
}  # fmt: skip


def factors(seed: int) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=chance) for key, shape in SHAPES.items()}


def adapter(folder: Path, seed: int, state: dict[str, Tensor] | None = None, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    save_file(factors(seed) if state is None else state, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    for seed in range(5):
        adapter(tmp_path / "adapters" / f"user{seed}" / "lora", seed, lora_alpha=8 + seed)
    return tmp_path / "adapters"


def test_adapters_change_weights_as_they_did(adapters: Path, tmp_path: Path) -> None:
    zoo = import_zoo("peft", adapters, tmp_path / "zoo")
    assert zoo.column("file").tolist() == [f"user{seed}/lora" for seed in range(5)]
    assert zoo.column("repository").tolist() == zoo.column("file").tolist()
    assert zoo.column("base_model").tolist() == ["tiny/base"] * 5
    assert zoo.column("scale").tolist() == [(8 + seed) / 2 for seed in range(5)]
    assert {axis.symmetry for axis in zoo.spec.free_axes} == {NONZERO}
    assert [axis.size for axis in zoo.spec.free_axes] == [2] * 4
    for row, found in enumerate(modules(zoo)):
        assert isinstance(found, LoRA)
        state = factors(row)
        changes = found(torch.tensor(zoo.column("scale")[row]))
        names = sorted(key for key in state if key.endswith("lora_A.weight"))
        for change, name in zip(changes, names, strict=True):
            b = state[name.replace("lora_A", "lora_B")]
            columns = state[name].T
            expected = [[sum(b[i, k] * column[k] for k in range(2)) for column in columns] for i in range(len(b))]
            assert torch.allclose(change, torch.tensor(expected) * (8 + row) / 2, atol=1e-5)


def test_the_scale_of_rank_stabilised_adapters(tmp_path: Path) -> None:
    adapter(tmp_path / "s" / "a", 0, use_rslora=True)
    zoo = import_zoo("peft", tmp_path / "s", tmp_path / "zoo")
    assert zoo.column("scale")[0] == pytest.approx(16 / 2**0.5)


def test_adapters_with_labels(adapters: Path, tmp_path: Path) -> None:
    (adapters / "labels.csv").write_text("file,safe,split\nuser3/lora,true,test\nuser0/lora,false,train\n")
    zoo = import_zoo("peft", adapters, tmp_path / "zoo")
    assert zoo.column("safe").tolist() == [True, False]
    assert zoo.column("split").tolist() == ["test", "train"]
    assert torch.equal(modules(zoo, 0)[0].state_dict()[next(iter(SHAPES))], factors(3)[next(iter(SHAPES))])
    assert "3 folders" in zoo.manifest.source["notes"][-1]


def cached(root: Path, repository: str, revision: str, files: dict[str, bytes]) -> Path:
    """A repository in the hub's cache: blobs by digest, and snapshots of links to them."""
    home = root / f"models--{repository.replace('/', '--')}"
    (home / "snapshots" / revision).mkdir(parents=True)
    (home / "blobs").mkdir(exist_ok=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(revision)
    for name, content in files.items():
        blob = home / "blobs" / f"{revision}{name}"
        blob.write_bytes(content)
        (home / "snapshots" / revision / name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
    return home


def test_the_cache_of_the_hub(adapters: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    for revision, seed in (("aaa", 0), ("bbb", 1)):
        folder = adapters / f"user{seed}" / "lora"
        cached(hub, "ann/lora", revision, {path.name: path.read_bytes() for path in folder.iterdir()})
    folder = adapters / "user2" / "lora"
    home = cached(hub, "bob/lora", "ccc", {path.name: path.read_bytes() for path in folder.iterdir()})
    zoo = import_zoo("peft", hub, tmp_path / "zoo", ImportSettings(fractions=(0.5, 0.0, 0.5)))
    assert zoo.column("repository").tolist() == ["ann/lora", "ann/lora", "bob/lora"]
    assert zoo.column("revision").tolist() == ["aaa", "bbb", "ccc"]
    assert zoo.column("network").tolist() == [0, 0, 1]
    assert zoo.column("split")[0] == zoo.column("split")[1]
    assert len(import_zoo("peft", home, tmp_path / "one")) == 1
    with pytest.raises(FormatError, match="is a link to .*blobs.*out of .*Remedy: give the folder that holds both"):
        import_zoo("peft", home / "snapshots" / "ccc", tmp_path / "two")


def changed(**changes: Any) -> Callable[[Path], Any]:
    return lambda root: adapter(root / "user3" / "lora", 3, **changes)


def with_state(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], Any]:
    def spoil(root: Path) -> None:
        state = factors(3)
        change(state)
        adapter(root / "user3" / "lora", 3, state)

    return spoil


KEY = f"{PREFIX}.1.self_attn.v_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (changed(peft_type="IA3"), "of type 'IA3'; expected LORA"),
        (changed(use_dora=True), "says use_dora: true.*expected false"),
        (changed(bias="lora_only"), 'says bias: "lora_only"'),
        (changed(modules_to_save=["head"]), "says modules_to_save"),
        (changed(alpha_pattern={"q": 3}), "says alpha_pattern"),
        (changed(r=4), "has rank 2; adapter_config.json says 4"),
        (changed(lora_alpha="x"), "lora_alpha 'x'"),
        (with_state(lambda state: state.pop(KEY)), "lacks '.*v_proj.lora_A.weight'"),
        (with_state(lambda state: state.update({KEY: torch.zeros(2, 6)})), r"has shape \(2, 6\); expected \(2, 5\)"),
        (with_state(lambda state: state.update({"x.lora_A.weight": torch.zeros(2, 5)})), "'x.lora_A.weight', which"),
        (lambda root: (root / "user3/lora/adapter_config.json").write_text("["), "adapter_config.json cannot be read"),
        (lambda root: (root / "user3/lora/adapter_config.json").write_text("[]"), "holds a list"),
        (
            lambda root: (root / "user3/lora/adapter_model.safetensors").rename(root / "user3/lora/adapter_model.bin"),
            "adapter_model.bin there is not read",
        ),
        (lambda root: (root / "user3/lora/adapter_model.safetensors").write_bytes(b"cut"), "is damaged"),
    ],
)
def test_damaged_adapters(adapters: Path, tmp_path: Path, spoil: Callable[[Path], Any], told: str) -> None:
    spoil(adapters)
    with pytest.raises(FormatError, match=told):
        import_zoo("peft", adapters, tmp_path / "zoo")


def test_tensors_that_are_no_pairs(tmp_path: Path) -> None:
    adapter(tmp_path / "s" / "a", 0, {"q.lora_A.weight": torch.zeros(2, 3), "q.weight": torch.zeros(3, 3)})
    with pytest.raises(SpecError, match="'q.lora_A.weight' has no 'q.lora_B.weight'"):
        import_zoo("peft", tmp_path / "s", tmp_path / "zoo")
    state = {"q.lora_A.weight": torch.zeros(2, 3), "q.lora_B.weight": torch.zeros(4, 2), "q.magnitude": torch.zeros(3)}
    adapter(tmp_path / "s" / "a", 0, state)
    with pytest.raises(SpecError, match="'q.magnitude' belongs to no pair"):
        import_zoo("peft", tmp_path / "s", tmp_path / "zoo")


# Whole models


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def model(folder: Path, seed: int, parts: int = 1) -> Path:
    folder.mkdir(parents=True)
    state = network(seed).state_dict()
    (folder / "config.json").write_text("{}")
    if parts == 1:
        save_file(state, folder / "model.safetensors")
        return folder
    index = {key: f"model-{1 + place % parts:05d}-of-{parts:05d}.safetensors" for place, key in enumerate(state)}
    for name in set(index.values()):
        save_file({key: state[key] for key in index if index[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def test_models_in_one_file_and_in_several(tmp_path: Path) -> None:
    for seed in range(4):
        model(tmp_path / "s" / f"m{seed}", seed, parts=1 + seed % 3)
    zoo = import_zoo("safetensors", tmp_path / "s", tmp_path / "zoo", ImportSettings("tanh"))
    assert zoo.column("file").tolist() == ["m0", "m1", "m2", "m3"]
    assert len(set(zoo.column("sha256"))) == 4
    x = torch.randn(5, 3)
    for seed, found in enumerate(modules(zoo)):
        assert torch.allclose(found(x), network(seed)(x), atol=1e-6)
    other = import_zoo("safetensors", tmp_path / "s", tmp_path / "other", template=network(9))
    assert torch.equal(flatten(other.features()), flatten(zoo.features()))


def reindexed(change: Callable[[dict[str, str]], Any]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "m1" / "model.safetensors.index.json"
        plain = json.loads(path.read_text())
        change(plain["weight_map"])
        path.write_text(json.dumps(plain))

    return spoil


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (reindexed(lambda index: index.update({"0.weight": "../../x.safetensors"})), "leads out of the folder"),
        (reindexed(lambda index: index.update({"0.weight": "sub/x.safetensors"})), "a .safetensors file beside it"),
        (reindexed(lambda index: index.update({"0.weight": "x.bin"})), "a .safetensors file beside it"),
        (
            reindexed(lambda index: index.update({"0.weight": SECOND})),
            "holds '0.weight', which .* does not place there",
        ),
        (reindexed(lambda index: index.update({"9.weight": FIRST})), "lacks '9.weight', which .* places there"),
        (reindexed(dict.clear), "has no weight_map"),
        (lambda root: (root / "m1" / SECOND).unlink(), f"lacks {SECOND}"),
    ],
)
def test_damaged_models(tmp_path: Path, spoil: Callable[[Path], Any], told: str) -> None:
    model(tmp_path / "s" / "m0", 0)
    model(tmp_path / "s" / "m1", 1, parts=2)
    spoil(tmp_path / "s")
    with pytest.raises(FormatError, match=told):
        import_zoo("safetensors", tmp_path / "s", tmp_path / "zoo", ImportSettings("tanh"))


@pytest.mark.parametrize("format", ["safetensors", "peft"])
def test_folders_without_networks(tmp_path: Path, format: str) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(FormatError, match="holds no folder with"):
        import_zoo(format, tmp_path / "s", tmp_path / "zoo", ImportSettings())
