"""`weightspace same` and `weightspace align`: copies are found, differences told, files written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.cli.conftest import Program
from tests.cli.networks import folder, hidden, relu

from weightspace.weights.source.factory import call_factory

__all__ = ["folder"]

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    "reading", [("--activation", "relu"), ("--module", "factories:relu")], ids=lambda words: words[0]
)
def test_a_hidden_copy_is_the_same_network(run: Program, reading: tuple[str, ...]) -> None:
    told = run("same", "a.pt", "hidden.safetensors", *reading)
    assert told.code == 0
    assert "yes: one network written twice" in told.out
    assert "of 16 units moved, scales from 0.0" in told.out


def test_another_network_is_not_the_same(run: Program) -> None:
    told = run("same", "a.pt", "b.pt", "--activation", "relu")
    assert told.code == 1
    assert "no: different networks, at distance" in told.out


def test_without_the_activation_scales_are_not_free(run: Program) -> None:
    told = run("same", "a.pt", "hidden.safetensors")
    assert told.code == 1
    assert "activation not known, so only the order of units is free" in told.out


def test_a_small_change_is_a_difference_unless_it_is_tolerated(run: Program) -> None:
    state = relu(0).state_dict()
    state["2.weight"][3, 4] += 1e-3
    torch.save(state, "near.pt")
    assert run("same", "a.pt", "near.pt", "--activation", "relu").code == 1
    assert run("same", "a.pt", "near.pt", "--activation", "relu", "--tolerance", 0.1).code == 0


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("factories:wide", "parameter '0.weight' has shape (8, 2) in the first network, (9, 2) in the second"),
        (
            "factories:gelu",
            "the units of axis '0' are POSITIVE (relu) in the first network, PERMUTATION (gelu) in the second",
        ),
        ("factories:tied", "only the first network has a parameter '0.weight'"),
    ],
)
def test_networks_of_different_spaces_are_different(run: Program, other: str, reason: str) -> None:
    told = run("same", "factories:relu", other)
    assert told.code == 1
    assert reason in told.out


def test_what_no_symmetry_moves_is_compared_too(run: Program) -> None:
    network = call_factory("factories:cnn")[0]
    words = ("--module", "factories:cnn", "--inputs", "2,3,8,8")
    torch.save(network.state_dict(), "cnn.pt")
    state = hidden(network, inputs=torch.randn(2, 3, 8, 8)).state_dict()
    torch.save({**state, "1.num_batches_tracked": torch.tensor(7)}, "copy.pt")
    assert run("same", "cnn.pt", "copy.pt", *words).code == 0
    torch.save({**state, "1.running_mean": state["1.running_mean"] + 1}, "moved.pt")
    assert run("same", "cnn.pt", "moved.pt", *words).code == 1


def test_a_folder_is_sorted_into_groups_of_equal_networks(run: Program, folder: Path) -> None:
    torch.save(hidden(relu(1), seed=3).state_dict(), "again.pth")
    torch.save(call_factory("factories:wide")[0].state_dict(), "wide.pt")
    told = run("same", folder, "--activation", "relu")
    assert told.code == 1
    assert "a.pt = hidden.safetensors\n" in told.out
    assert "again.pth = b.pt\n" in told.out
    assert "networks: 5; groups of equal ones: 2; equal to no other: 1\n" in told.out
    for name in ("again.pth", "b.pt", "wide.pt"):
        (folder / name).unlink()
    assert run("same", folder, "--activation", "relu").code == 0
    assert run("same", folder).code == 1


def test_networks_that_diverged_are_set_apart_in_a_folder(run: Program, folder: Path) -> None:
    torch.save({key: tensor / 0 for key, tensor in relu(0).state_dict().items()}, "diverged.pt")
    told = run("same", folder, "--activation", "relu")
    assert told.code == 1
    assert "a.pt = hidden.safetensors\n" in told.out
    assert "networks: 4; groups of equal ones: 1; equal to no other: 2\n" in told.out


def test_the_networks_of_a_zoo_are_compared(run: Program, zoo: Path) -> None:
    told = run("same", zoo)
    assert told.code == 1
    assert told.out == "networks: 300; groups of equal ones: 0; equal to no other: 300\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("a.pt",), "a.pt is no folder; give a second network"),
        (("empty",), "empty holds no networks"),
        (("a.pt", "nowhere.pt"), "nowhere.pt does not exist"),
        (("a.pt", "empty"), "empty is a folder"),
        (("a.pt", "diverged.pt"), "diverged.pt: '0.weight' holds numbers that are not finite"),
        (("a.pt", "wide.pt", "--module", "factories:relu"), "wide.pt: '0.weight' has shape (9, 2)"),
        (("spoilt",), "spoilt/cut.pt is damaged"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_message(run: Program, folder: Path, words: tuple[str, ...], hint: str) -> None:
    (folder / "empty").mkdir()
    (folder / "spoilt").mkdir()
    (folder / "spoilt" / "cut.pt").write_bytes((folder / "a.pt").read_bytes()[:300])
    torch.save({key: tensor / 0 for key, tensor in relu(0).state_dict().items()}, "diverged.pt")
    torch.save(call_factory("factories:wide")[0].state_dict(), "wide.pt")
    told = run("same", *words)
    assert told.code == 2
    assert hint in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("by", ["weights", "activations"])
def test_align_brings_a_hidden_copy_back(run: Program, folder: Path, by: str) -> None:
    words = ("align", "hidden.safetensors", "a.pt", "--module", "factories:relu", "--by", by, "--inputs", "200,2")
    told = run(*words, "--out", "new/c.safetensors")
    assert told.code == 0, told.err
    before, after = (float(text) for text in told.out.splitlines()[-2].replace("before: ", "").split()[-1:] * 2)
    assert after < 1e-5
    aligned = load_file(folder / "new" / "c.safetensors")
    for key, tensor in relu(0).state_dict().items():
        torch.testing.assert_close(aligned[key], tensor, rtol=1e-4, atol=1e-5)


def test_align_keeps_the_function_of_what_it_moves(run: Program, folder: Path) -> None:
    told = run("align", "b.pt", "a.pt", "--activation", "relu", "--out", "c.safetensors")
    assert told.code == 0
    distances = [float(word.rstrip(",")) for word in told.out.split() if word[0].isdigit()]
    assert distances[-1] < distances[-2]
    aligned = relu(0)
    aligned.load_state_dict(load_file(folder / "c.safetensors"))
    x = torch.randn(50, 2)
    torch.testing.assert_close(aligned(x), relu(1)(x), rtol=1e-4, atol=1e-5)
    assert run("same", "c.safetensors", "b.pt", "--activation", "relu").code == 0


def test_align_keeps_types_and_tied_tensors(run: Program, folder: Path) -> None:
    network = call_factory("factories:tied")[0]
    moved = hidden(network, inputs=torch.randn(5, 4)).double()
    torch.save(network.state_dict(), "tied.pt")
    torch.save(moved.state_dict(), "moved.pt")
    words = ("--module", "factories:tied")
    assert run("align", "moved.pt", "tied.pt", "--out", "c.safetensors", *words).code == 0
    state = load_file(folder / "c.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    assert torch.equal(state["ahead.weight"], state["other.weight"])
    assert run("same", "c.safetensors", "tied.pt", *words).code == 0
    assert run("same", "c.safetensors", "moved.pt", *words).code == 0


def test_align_writes_over_nothing_unless_it_is_told_to(run: Program, folder: Path) -> None:
    words = ("align", "b.pt", "a.pt", "--activation", "relu", "--out", "hidden.safetensors")
    before = (folder / "hidden.safetensors").read_bytes()
    told = run(*words)
    assert told.code == 2
    assert "hidden.safetensors exists. Remedy: give another name, or --force" in told.err
    assert (folder / "hidden.safetensors").read_bytes() == before
    assert run(*words, "--force").code == 0
    assert (folder / "hidden.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("b.pt", "a.pt", "--out", "c.pt"), "c.pt ends in '.pt'; the network is written as .safetensors"),
        (("b.pt", "a.pt", "--out", "c.safetensors", "--by", "weihgts"), 'did you mean "weights"?'),
        (("factories:wide", "a.pt", "--out", "c.safetensors"), "are of different architecture"),
        (("b.pt", "a.pt", "--out", "a.pt/c.safetensors"), "a part of that path is a file"),
        (("b.pt", "a.pt"), "--out"),
        (("nowhere.pt", "a.pt", "--out", "c.safetensors"), "nowhere.pt does not exist"),
        (("b.pt", "a.pt", "--out", "c.safetensors", "--inputs", "2,5"), "does not accept example inputs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_of_align_is_a_message_and_leaves_nothing(
    run: Program, folder: Path, words: tuple[str, ...], hint: str
) -> None:
    told = run("align", *words)
    assert told.code == 2
    assert hint in " ".join(told.err.split())
    assert "Traceback" not in told.err
    assert not (folder / "c.safetensors").exists()


def test_activations_take_inputs_in_every_form(run: Program, folder: Path) -> None:
    for factory in ("factories:keywords", "factories:tied"):
        told = run("align", factory, factory, "--out", "c.safetensors", "--by", "activations", "--force")
        assert told.code == 0, told.err


def test_an_exported_program_is_compared_with_a_file_and_its_module(run: Program, folder: Path) -> None:
    torch.export.save(torch.export.export(relu(0), (torch.randn(4, 2),)), "a.pt2")
    assert run("same", "a.pt2", "a.pt", "--module", "factories:relu").code == 0


@pytest.mark.parametrize("tolerance", ["-1", "nan"])
def test_a_tolerance_that_nothing_meets_is_a_message(run: Program, tolerance: str) -> None:
    told = run("same", "a.pt", "a.pt", "--tolerance", tolerance)
    assert told.code == 2
    assert f"tolerance is {tolerance}; expected zero or more" in told.err
