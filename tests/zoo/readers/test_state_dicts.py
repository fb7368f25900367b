"""Folders of state dicts with a table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightspace.errors import DataError, FormatError, ShapeError, SpecError
from weightspace.spec import PERMUTATION, POSITIVE, spec_of
from weightspace.zoo import Zoo
from weightspace.zoo.generate import modules
from weightspace.zoo.readers import ImportSettings, import_zoo


def network(seed: int = 0, norm: bool = True) -> nn.Sequential:
    """A network with buffers, in the middle of whose layers is a normalisation with statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(3, 4), *([nn.BatchNorm1d(4)] if norm else []), nn.ReLU(), nn.Linear(4, 2)]
        made = nn.Sequential(*layers)
        if norm:
            made[1].running_mean.normal_()
            made[1].running_var.uniform_(0.5, 2)
    return made.eval()


NAMES = ["a/1.pt", "a/2.pth", "b/3.safetensors", "b/4.bin", "5.ckpt"]
TABLE = "file,accuracy,data,split\na/1.pt,0.5,mnist,train\nb/3.safetensors,0.25,svhn,validation\n5.ckpt,,mnist,test\na/2.pth,1,x,train\nb/4.bin,1,,train\n"  # noqa: E501


def source(root: Path, *, norm: bool = True, table: str = TABLE) -> Path:
    for seed, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        state = network(seed, norm).state_dict()
        match path.suffix:
            case ".safetensors":
                save_file(state, path)
            case ".ckpt":
                torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, path)
            case ".bin":
                torch.save(
                    {key: value.double() if value.is_floating_point() else value for key, value in state.items()}, path
                )
            case _:
                torch.save(state, path)
    (root / "labels.csv").write_text(table)
    return root


def check_functions(zoo: Zoo, template: nn.Module | None = None, norm: bool = True) -> None:
    x = torch.randn(7, 3)
    for name, found in zip(zoo.column("file").tolist(), modules(zoo, template=template), strict=True):
        assert torch.allclose(found(x), network(NAMES.index(name), norm)(x), atol=1e-6)


def test_with_a_template(tmp_path: Path) -> None:
    zoo = import_zoo("state-dicts", source(tmp_path / "source"), tmp_path / "zoo", template=network())
    assert zoo.column("file").tolist() == ["a/1.pt", "b/3.safetensors", "5.ckpt", "a/2.pth", "b/4.bin"]
    assert zoo.column("split").tolist() == ["train", "val", "test", "train", "train"]
    assert zoo.column("data").tolist() == ["mnist", "svhn", "mnist", "x", ""]
    assert np.isnan(zoo.column("accuracy")).tolist() == [False, False, True, False, False]
    assert zoo.column("stored").tolist() == ["float32"] * 4 + ["float64"]
    assert zoo.manifest.settings["template"] == {"kind": "module", "name": "torch.nn.modules.container.Sequential"}
    check_functions(zoo, network())
    with pytest.raises(SpecError, match="give a module of theirs"):
        modules(zoo)


def test_with_a_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("their_models")
    module.make = network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_models", module)
    root = source(tmp_path / "source")
    zoo = import_zoo("state-dicts", root, tmp_path / "zoo", ImportSettings(module="their_models:make", inputs=("4,3",)))
    check_functions(zoo, network())
    # A manifest that names code does not make it run.
    monkeypatch.setattr(module, "make", lambda: pytest.fail("run"))
    with pytest.raises(SpecError, match="module 'torch.nn.modules.container.Sequential'"):
        modules(zoo)


def test_with_an_activation(tmp_path: Path) -> None:
    root = source(tmp_path / "source", norm=False)
    zoo = import_zoo("state-dicts", root, tmp_path / "zoo", ImportSettings("relu"))
    check_functions(zoo, norm=False)
    assert [axis.symmetry for axis in zoo.spec.free_axes] == [POSITIVE]
    zoo = import_zoo("state-dicts", root, tmp_path / "any", ImportSettings("any"))
    assert [axis.symmetry for axis in zoo.spec.free_axes] == [PERMUTATION]
    check_functions(zoo, network(norm=False), norm=False)


def test_with_a_spec(tmp_path: Path) -> None:
    root, file = source(tmp_path / "source", norm=False), tmp_path / "spec.json"
    file.write_text(spec_of(network(norm=False)).to_json())
    zoo = import_zoo("state-dicts", root, tmp_path / "a", ImportSettings(spec=file))
    check_functions(zoo, network(norm=False), norm=False)
    other = import_zoo("state-dicts", root, tmp_path / "b", spec=spec_of(network(norm=False)))
    assert other.spec == zoo.spec
    file.write_text("{}")
    with pytest.raises(FormatError, match="cannot be read as a spec"):
        import_zoo("state-dicts", root, tmp_path / "c", ImportSettings(spec=file))


def test_runs_of_one_network_share_a_split(tmp_path: Path) -> None:
    rows = "".join(f"{name},{number // 2}\n" for number, name in enumerate(NAMES))
    root = source(tmp_path / "source", table=f"file,network\n{rows}")
    zoo = import_zoo(
        "state-dicts", root, tmp_path / "zoo", ImportSettings(fractions=(0.4, 0.3, 0.3)), template=network()
    )
    assert len(set(zip(zoo.column("network"), zoo.column("split"), strict=True))) == 3
    shared = rows.replace("\n", ",train\n", 1).replace("\n", ",test\n").replace(",train,test", ",train")
    source(root, table=f"file,network,split\n{shared}")
    with pytest.raises(FormatError, match="puts rows of network 0 into test and train"):
        import_zoo("state-dicts", root, tmp_path / "other", template=network())


def test_what_a_spec_does_not_cover_must_not_differ(tmp_path: Path) -> None:
    """A buffer that no symmetry knows lies in the template alone; one that differs would be lost."""

    class Shifted(nn.Module):
        def __init__(self, shift: float = 1.0) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.tied = self.layer
            self.register_buffer("steps", torch.tensor([int(shift)]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.tied(self.layer(x)) * self.steps

    root = tmp_path / "source"
    root.mkdir()
    one = Shifted()
    torch.save(one.state_dict(), root / "1.pt")
    (root / "labels.csv").write_text("file\n1.pt\n")
    zoo = import_zoo("state-dicts", root, tmp_path / "zoo", template=Shifted())
    x = torch.randn(3, 2)
    assert torch.allclose(modules(zoo, template=Shifted())[0](x), one(x))
    torch.save(one.state_dict() | {"steps": torch.tensor([5])}, root / "1.pt")
    with pytest.raises(FormatError, match="'steps' differs from that of the template"):
        import_zoo("state-dicts", root, tmp_path / "b", template=Shifted())
    torch.save(one.state_dict() | {"tied.bias": torch.zeros(2)}, root / "1.pt")
    with pytest.raises(FormatError, match="'tied.bias' differs from the tensor that it is tied to"):
        import_zoo("state-dicts", root, tmp_path / "c", template=Shifted())
    with pytest.raises(FormatError, match="holds '(tied.weight|steps)', which the architecture does not have"):
        import_zoo("state-dicts", root, tmp_path / "d", spec=spec_of(Shifted()))


def test_half_precision_is_kept_to_the_bit(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    half = {key: value.bfloat16() for key, value in network(norm=False).state_dict().items()}
    save_file(half, root / "1.safetensors")
    (root / "labels.csv").write_text("file\n1.safetensors\n")
    zoo = import_zoo("state-dicts", root, tmp_path / "zoo", ImportSettings("relu"))
    assert zoo.column("stored").tolist() == ["bfloat16"]
    (found,) = modules(zoo)
    assert all(torch.equal(found.state_dict()[key], half[key].float()) for key in half)


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def table(text: str) -> Callable[[Path], None]:
    return lambda root: (root / "labels.csv").write_text(text) and None


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove("b/4.bin"), "names 'b/4.bin' in row 5, which the source does not hold"),
        (remove("labels.csv"), "labels.csv cannot be read"),
        (table("path,label\na/1.pt,1\n"), "no column 'file'; it has 'path', 'label'"),
        (table("file\n../1.pt\n"), "names '../1.pt', which leads out"),
        (table("file\n/etc/passwd\n"), "names '/etc/passwd', which leads out"),
        (table("file\na/1.pt\na/1.pt\n"), "names 'a/1.pt' more than once"),
        (table("file\na/1.bt\n"), "'a/1.bt' in row 1, which the source does not hold; the nearest is 'a/1.pt'"),
        (table("file,split\na/1.pt,dev\n"), "names the split 'dev'; expected train, val, test"),
        (table("file,sha256\na/1.pt,1\n"), "column 'sha256', which a zoo fills itself"),
        (table("file,good\na/1.pt,true\na/2.pth,\n"), "column 'good' has a gap in row 2"),
        (table("file\n"), "names no networks"),
        (table("file,label\na/1.pt\n"), "cannot be read as a csv file"),
        (lambda root: (root / "b/3.safetensors").write_bytes(b"\xff" * 40), "3.safetensors is damaged"),
    ],
)
def test_damaged_sources(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    root = source(tmp_path / "source")
    spoil(root)
    with pytest.raises(FormatError, match=told):
        import_zoo("state-dicts", root, tmp_path / "zoo", template=network())


def test_code_in_a_file_is_not_run(tmp_path: Path, trap: Callable[[Path], Path]) -> None:
    root = source(tmp_path / "source")
    sign = trap(root / "a/2.pth")
    with pytest.raises(FormatError, match=r"2.pth holds an object of \S*mkdir.*could run code"):
        import_zoo("state-dicts", root, tmp_path / "zoo", template=network())
    assert not sign.exists()
    torch.save(network(), root / "a/2.pth")
    with pytest.raises(FormatError, match="holds an object of torch.nn.modules.container.Sequential"):
        import_zoo("state-dicts", root, tmp_path / "zoo", template=network())


def test_the_architecture_must_be_told_once(tmp_path: Path) -> None:
    root = source(tmp_path / "source")
    with pytest.raises(SpecError, match="does not say what the networks compute. Remedy: give the factory"):
        import_zoo("state-dicts", root, tmp_path / "zoo")
    with pytest.raises(DataError, match="activation and module each say"):
        ImportSettings("relu", module="a:b")
    with pytest.raises(DataError, match="template and activation each say"):
        import_zoo("state-dicts", root, tmp_path / "zoo", ImportSettings("relu"), template=network())
    with pytest.raises(DataError, match="without the template that takes them"):
        import_zoo("state-dicts", root, tmp_path / "zoo", ImportSettings("relu"), example_inputs=torch.zeros(2, 3))
    with pytest.raises(DataError, match="no module is given that takes them"):
        ImportSettings(inputs=("2,3",))
    with pytest.raises(ShapeError, match="no shape of an input"):
        import_zoo("state-dicts", root, tmp_path / "zoo", ImportSettings(module="torch.nn:ReLU", inputs=("x",)))
