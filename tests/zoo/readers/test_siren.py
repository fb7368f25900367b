"""SIRENs as the neural functionals and the deep weight spaces publish them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracles.inr import siren
from torch import Tensor

from weightspace.errors import DataError, FormatError, SpecError
from weightspace.spec import SIGN
from weightspace.weights import flatten
from weightspace.zoo import check, open_zoo
from weightspace.zoo.generate import modules
from weightspace.zoo.readers import ImportSettings, import_zoo, transfer

NFN = ("net.0.linear", "net.1.linear", "net.2")
DWS = ("seq.0", "seq.1", "seq.2")
SIZES = ((5, 2), (4, 5), (1, 4))


def state(seed: int, names: tuple[str, ...], sizes: tuple[tuple[int, int], ...] = SIZES) -> dict[str, Tensor]:
    """The state dict of one SIREN under the names of a published program."""
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for name, (units, below) in zip(names, sizes, strict=True):
        found[f"{name}.weight"] = torch.randn(units, below, generator=chance) / below
        found[f"{name}.bias"] = torch.randn(units, generator=chance)
    return found


def saved(root: Path, name: str, content: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


@pytest.fixture
def nfn(tmp_path: Path) -> Path:
    """Images 0 to 11 of three classes, fitted once and twice more."""
    root = tmp_path / "siren_mnist_wts"
    for image in range(12):
        for view, prefix in enumerate(("randinit_smaller", "randinit_smaller_aug0", "randinit_smaller_aug10")):
            saved(root, f"{prefix}_{image % 3}s/net{image}.pth", state(100 * view + image, NFN))
    (root / "README.txt").write_text("not a network")
    return root


POINTS = ImportSettings(split_points=(6, 8))


def test_nfn_networks_compute_what_they_computed(nfn: Path, tmp_path: Path) -> None:
    zoo = import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)
    assert len(zoo) == 36
    for row in (0, 7, 35):
        view = {0: 0, 1: 100, 11: 200}[int(zoo.column("view")[row])]
        check_function(zoo, row, state(view + int(zoo.column("image")[row]), NFN), 30.0)
    assert {axis.symmetry for axis in zoo.spec.free_axes} == {SIGN}
    assert zoo.manifest.forward["output_offset"] == 0.0


def check_function(zoo: Any, row: int, tensors: Mapping[str, Tensor], omega: float) -> None:
    """The imported network, run by torch, gives what the definition gives for the stored tensors."""
    (network,) = modules(zoo, row)
    values = list(tensors.values())
    layers = [(values[i].double().numpy(), values[i + 1].double().numpy()) for i in range(0, len(values), 2)]
    for point in ((0.3, -0.7), (-1.0, 1.0)):
        found = network.double()(torch.tensor([point], dtype=torch.float64))[0].tolist()
        assert np.allclose(found, siren(layers, point, omega), atol=1e-12)
        # Mutant: the transpose of a square layer, or another frequency, is another function.
        assert not np.allclose(found, siren(layers, point, omega / 3), atol=1e-3)


def test_nfn_names_and_published_splits_are_kept(nfn: Path, tmp_path: Path) -> None:
    zoo = import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)
    assert zoo.column("image").tolist() == [image for image in range(12) for _ in range(3)]
    assert zoo.column("view").tolist() == [0, 1, 11] * 12
    assert (zoo.column("label") == zoo.column("image") % 3).all()
    expected = ["train"] * 18 + ["val"] * 6 + ["test"] * 12
    assert zoo.column("split").tolist() == expected
    assert zoo.column("file")[1] == "randinit_smaller_aug0_0s/net0.pth"
    assert zoo.manifest.settings["split_points"] == [6, 8]
    default = import_zoo("nfn-siren", nfn, tmp_path / "default")
    assert set(default.column("split")) == {"train"}


def test_another_frequency(nfn: Path, tmp_path: Path) -> None:
    zoo = import_zoo("nfn-siren", nfn, tmp_path / "zoo", ImportSettings("sine:omega=20"))
    check_function(zoo, 0, state(0, NFN), 20.0)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: saved(root, "randinit_smaller_3s/network7.pth", state(0, NFN)), "another name than the networks"),
        (lambda root: saved(root, "randinit_smaller_2s/net0.pth", state(0, NFN)), "are both of image 0"),
        (lambda root: saved(root, "randinit_smaller_aug3_2s/net0.pth", state(0, NFN)), "image 0 is of class [02] in"),
        (
            lambda root: saved(root, "randinit_smaller_2s/net5.pth", state(0, (*NFN[:2], "net.3"))),
            "'net.3.weight'.*does not have; the nearest is 'net.2.weight'",
        ),
        (
            lambda root: saved(root, "randinit_smaller_2s/net5.pth", dict(list(state(0, NFN).items())[:5])),
            "lacks 'net.2.bias'",
        ),
        (
            lambda root: saved(root, "randinit_smaller_2s/net5.pth", state(0, NFN, ((5, 2), (5, 4), (1, 4)))),
            r"'net.1.linear.weight' has shape \(5, 4\); expected \(4, 5\)",
        ),
        (
            lambda root: saved(root, "randinit_smaller_2s/net5.pth", {k: v.long() for k, v in state(0, NFN).items()}),
            "holds torch.int64",
        ),
        (lambda root: saved(root, "randinit_smaller_2s/net5.pth", [1, 2]), "holds a list"),
        (lambda root: (root / "randinit_smaller_2s/net5.pth").write_bytes(b"PK\x03\x04 cut"), "net5.pth is damaged"),
    ],
)
def test_damaged_nfn_sources(nfn: Path, tmp_path: Path, spoil: Callable[[Path], Any], told: str) -> None:
    spoil(nfn)
    with pytest.raises(FormatError, match=told):
        import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)


def test_a_damaged_file_costs_its_shard_alone(nfn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_SHARD_ROWS", 10)
    path = nfn / "randinit_smaller_2s/net11.pth"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(FormatError, match="net11.pth"):
        import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)
    assert len(open_zoo(tmp_path / "zoo")) == 30
    path.write_bytes(whole)
    assert len(import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)) == 36
    assert check(tmp_path / "zoo") == []


def test_other_files_of_the_same_names_are_not_mixed_in(nfn: Path, tmp_path: Path) -> None:
    import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)
    before = open_zoo(tmp_path / "zoo").checksum
    saved(nfn, "randinit_smaller_0s/net0.pth", state(77, NFN))
    with pytest.raises(FormatError, match=r"shard 0 of .* was read from a file with sha256"):
        import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)
    assert open_zoo(tmp_path / "zoo").checksum == before


def test_code_in_a_file_is_not_run(nfn: Path, tmp_path: Path, trap: Callable[[Path], Path]) -> None:
    sign = trap(nfn / "randinit_smaller_0s/net3.pth")
    with pytest.raises(
        FormatError, match=r"net3.pth holds an object of \S*mkdir.*could run code.*Remedy: where you trust"
    ):
        import_zoo("nfn-siren", nfn, tmp_path / "zoo", POINTS)
    assert not sign.exists()


# Deep weight spaces


def folder(part: str, label: int, image: int) -> str:
    return f"mnist_png_{part}_{label}_{image}/checkpoints/model_final.pth"


PATHS = [folder("training", image % 3, image) for image in range(9)] + [
    folder("testing", 0, 0),
    folder("testing", 2, 5),
]
ROWS = {"train": (8, 3, 0, 1, 2, 6), "val": (7, 4, 5), "test": (9, 10)}
LISTS = {
    split: {
        "path": [f"data/mnist-inrs/{PATHS[row]}" for row in rows],
        "label": [PATHS[row].split("_")[3] for row in rows],
    }
    for split, rows in ROWS.items()
}


@pytest.fixture
def dws(tmp_path: Path) -> Path:
    root = tmp_path / "mnist-inrs"
    for number, path in enumerate(PATHS):
        saved(root, path, state(number, DWS))
    (root / "mnist_splits.json").write_text(json.dumps(LISTS))
    return root


def test_dws_networks_compute_what_they_computed(dws: Path, tmp_path: Path) -> None:
    zoo = import_zoo("dws-siren", dws, tmp_path / "zoo", ImportSettings(count=11))
    for row, path in enumerate(zoo.column("file").tolist()):
        check_function(zoo, row, state(PATHS.index(path), DWS), 30.0)
    assert zoo.manifest.forward["output_offset"] == 0.5


def test_dws_splits_are_kept_in_their_order(dws: Path, tmp_path: Path) -> None:
    zoo = import_zoo("dws-siren", dws, tmp_path / "zoo")
    for split in ("train", "val", "test"):
        found = [f"data/mnist-inrs/{path}" for path in zoo.column("file")[zoo.split(split)]]
        assert found == LISTS[split]["path"]
        assert zoo.column("label")[zoo.split(split)].tolist() == [int(label) for label in LISTS[split]["label"]]
    assert zoo.column("part")[-1] == "testing"
    assert zoo.column("image")[-1] == 5
    assert zoo.manifest.settings["split"] == "mnist_splits.json"
    assert "mnist_splits.json" in zoo.manifest.source["described"]


def test_dws_without_a_split(dws: Path, tmp_path: Path) -> None:
    (dws / "mnist_splits.json").unlink()
    zoo = import_zoo("dws-siren", dws, tmp_path / "zoo")
    part, split = zoo.column("part"), zoo.column("split")
    assert ((part == "testing") == (split == "test")).all()
    again = import_zoo("dws-siren", dws, tmp_path / "again")
    assert (again.column("split") == split).all()


@pytest.mark.parametrize("label", [7, torch.tensor(7)])
def test_dws_labels_inside_of_files(tmp_path: Path, label: Any) -> None:
    root = tmp_path / "fmnist_inrs"
    for number in range(4):
        saved(root, f"model_{number}/final.pth", state(number, DWS) | {"label": label})
    split = {"train": ["x/fmnist_inrs/model_2/final.pth", "model_0/final.pth"], "test": ["model_1/final.pth"]}
    (root / "splits.json").write_text(json.dumps(split))
    zoo = import_zoo("dws-siren", root, tmp_path / "zoo")
    assert zoo.column("file").tolist() == ["model_2/final.pth", "model_0/final.pth", "model_1/final.pth"]
    assert zoo.column("label").tolist() == [7, 7, 7]
    check_function(zoo, 0, state(2, DWS), 30.0)
    assert zoo.manifest.source["left_out"] == 1
    assert "1 files that it does not name were left out" in zoo.manifest.source["notes"][-1]


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        lists = json.loads(json.dumps(LISTS))
        change(lists)
        (root / "mnist_splits.json").write_text(json.dumps(lists))

    return spoil


def linked(root: Path) -> None:
    outside = root.parent / "outside.pth"
    torch.save(state(0, DWS), outside)
    (root / PATHS[0]).unlink()
    (root / PATHS[0]).symlink_to(outside)


def linked_folder(root: Path) -> None:
    (root / "more").symlink_to(root / "mnist_png_training_0_0")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            rewritten(lambda lists: lists["val"]["path"].__setitem__(0, "../../secret/model_final.pth")),
            "leads out of the folder",
        ),
        (
            rewritten(lambda lists: lists["val"]["path"].__setitem__(0, "/mnist_png_training_0_99/model_final.pth")),
            "which the source does not hold",
        ),
        (rewritten(lambda lists: lists["val"]["path"].__setitem__(0, LISTS["test"]["path"][0])), "more than once"),
        (rewritten(lambda lists: lists["val"]["label"].__setitem__(0, "2")), "the class 2, its folder 1"),
        (rewritten(lambda lists: lists["val"]["label"].__setitem__(0, "two")), "gives the class 'two'"),
        (rewritten(lambda lists: lists["val"]["label"].pop()), "3 paths and 2 labels"),
        (rewritten(lambda lists: lists["val"].pop("label")), "labels for some splits"),
        (rewritten(lambda lists: lists.__setitem__("dev", ["x.pth"])), "labels for some splits"),
        (rewritten(dict.clear), "is no split"),
        (lambda root: (root / "mnist_splits.json").write_text("[1]"), "is no split"),
        (lambda root: (root / "mnist_splits.json").write_text("{"), "cannot be read as a split"),
        (lambda root: (root / "other_splits.json").write_text("{}"), "holds several splits"),
        (linked, "is a link to .*outside.pth, out of"),
        (linked_folder, "is a link to a folder"),
        (lambda root: saved(root, PATHS[4], state(4, DWS) | {"epoch": 3}), "holds 'epoch', which is no tensor"),
    ],
)
def test_damaged_dws_sources(dws: Path, tmp_path: Path, spoil: Callable[[Path], Any], told: str) -> None:
    spoil(dws)
    with pytest.raises(FormatError, match=told):
        import_zoo("dws-siren", dws, tmp_path / "zoo")


def test_dws_without_split_and_names(tmp_path: Path) -> None:
    saved(tmp_path / "source", "some/model.pth", state(0, DWS))
    with pytest.raises(FormatError, match="does not say of which image it is"):
        import_zoo("dws-siren", tmp_path / "source", tmp_path / "zoo")


def test_convolutions_are_no_sirens(tmp_path: Path) -> None:
    saved(tmp_path / "source", "a_1s/net0.pth", {"a.weight": torch.zeros(3)})
    with pytest.raises(SpecError, match=r"net0.pth.*'a.weight' of shape \(3,\)"):
        import_zoo("nfn-siren", tmp_path / "source", tmp_path / "zoo")


def test_a_split_is_not_taken_where_names_decide(nfn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes no split; it takes activation, count, split_points"):
        import_zoo("nfn-siren", nfn, tmp_path / "zoo", ImportSettings(split=Path("x.json")))


def test_links_inside_of_the_source_are_followed(dws: Path, tmp_path: Path) -> None:
    before = flatten(import_zoo("dws-siren", dws, tmp_path / "a").features())
    blob = dws / "blob"
    (dws / PATHS[0]).rename(blob)
    (dws / PATHS[0]).symlink_to(blob)
    assert torch.equal(flatten(import_zoo("dws-siren", dws, tmp_path / "b").features()), before)
