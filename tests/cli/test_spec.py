"""`weightspace spec` and `weightspace check` on files, factories and exported programs, whole and spoilt."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Program
from tests.cli.networks import FACTORY, folder, relu

from weightspace.spec import POSITIVE, NetworkSpec, spec_of
from weightspace.weights.source import Source
from weightspace.weights.source.factory import call_factory

__all__ = ["folder"]

SOURCES = (
    ("a.pt", "--activation", "relu"),
    ("hidden.safetensors", "--module", "factories:relu"),
    ("factories:relu",),
    ("factories:tied",),
    ("factories:tokens",),
    ("factories:cnn", "--inputs", "2,3,8,8"),
    ("cnn.pt2",),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exported")
    names = {}
    exec(FACTORY, names)
    torch.export.save(torch.export.export(names["cnn"](), (torch.randn(2, 3, 8, 8),)), place / "cnn.pt2")
    return place / "cnn.pt2"


@pytest.fixture(autouse=True)
def archive(folder: Path, exported: Path) -> None:
    shutil.copy(exported, folder)


@pytest.mark.parametrize("words", SOURCES, ids=lambda words: words[0])
def test_spec_tells_the_axes_of_every_kind_of_source(run: Program, words: tuple[str, ...]) -> None:
    told = run("spec", *words)
    assert told.code == 0, told.err
    assert told.err == ""
    assert "parameters in" in told.out
    assert "group: 10^" in told.out
    assert "axis " in told.out
    assert "not checked" not in told.out


@pytest.mark.parametrize("words", SOURCES, ids=lambda words: words[0])
def test_check_finds_that_every_network_keeps_its_function(run: Program, words: tuple[str, ...]) -> None:
    told = run("check", *words, "--elements", 2)
    assert told.code == 0, told.out + told.err
    assert told.out.endswith("The function stays as it is.\n")
    decades = 1 if words == ("factories:tokens",) else 7
    assert told.out.count(": ok\n") == decades


def test_the_report_is_that_of_the_library(run: Program) -> None:
    told = run("spec", "a.pt", "--module", "factories:relu")
    assert told.out == spec_of(relu(0)).report() + "\n"


def test_the_certificate_is_added_when_asked_for(run: Program) -> None:
    small = call_factory("factories:small")[0]
    torch.save(small.state_dict(), "small.pt")
    told = run("spec", "small.pt", "--module", "factories:small", "--verify")
    assert "function error" in told.out
    assert "rank of the Jacobian" in told.out
    torch.export.save(torch.export.export(small, (torch.randn(4, 2),)), "small.pt2")
    assert "rank of the Jacobian" in run("spec", "small.pt2", "--verify").out


def test_no_verify_does_not_run_the_network(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(Source, "spec", lambda self, *, strict, verify: seen.append(verify) or spec_of(relu(0)))
    for flag in ("--no-verify", "--strict"):
        assert run("spec", "a.pt", flag).code == 0
    assert seen == [False, True]


def test_json_is_what_the_library_reads(run: Program, folder: Path) -> None:
    assert run("spec", "a.pt", "--activation", "relu", "--json", "new/spec.json").code == 0
    read = NetworkSpec.from_json((folder / "new" / "spec.json").read_text())
    assert read == spec_of(relu(0))
    assert "unverified guess" in read.notes[0].reason
    told = run("spec", "a.pt", "--json", "a.pt/spec.json")
    assert told.code == 2
    assert "a part of that path is a file" in told.err


def test_a_guess_is_marked_and_claims_no_factor(run: Program) -> None:
    told = run("spec", "a.pt")
    assert "0 positive scales, 0 signs" in told.out
    assert "note on the network: unverified guess: a chain of 3 layers" in told.out
    assert "unverified guess" in run("check", "a.pt").out


def test_strict_names_what_is_not_understood(run: Program) -> None:
    assert run("spec", "factories:branches").code == 0
    told = run("spec", "factories:branches", "--strict")
    assert told.code == 2
    assert "torch.export cannot read it" in told.err


def test_check_catches_a_claim_that_is_false(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mutant: scales are claimed for GELU, which lets none through.
    honest = Source.spec

    def too_much(self: Source, **options: bool) -> NetworkSpec:
        return replace(spec_of(relu(0)), notes=honest(self, **options).notes)

    monkeypatch.setattr(Source, "spec", too_much)
    assert {axis.symmetry for axis in spec_of(relu(0)).free_axes} == {POSITIVE}
    told = run("check", "factories:gelu")
    assert told.code == 1
    assert "FAILED" in told.out
    assert told.out.endswith("The function changes: the symmetries do not hold.\n")
    assert run("check", "factories:relu").code == 0


def test_a_tolerance_decides(run: Program) -> None:
    assert run("check", "factories:relu", "--tolerance", "1e-30").code == 1
    assert run("check", "factories:relu", "--tolerance", "1e-3").code == 0


def test_a_network_that_overflows_tells_nothing_and_is_not_passed(run: Program) -> None:
    told = run("check", "factories:overflows")
    assert told.code == 1
    assert "The function stays as it is" not in told.out


def test_draws_depend_on_the_seed_alone(run: Program) -> None:
    words = ("check", "factories:tied", "--log-scale", 3)
    assert run(*words).out == run(*words).out != run(*words, "--seed", 1).out


@pytest.mark.parametrize("verb", ["spec", "check"])
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("nowhere.pt",), "nowhere.pt does not exist"),
        (("nonsense",), "nonsense does not exist; expected a file, or package.module:factory"),
        ((".",), "is a folder"),
        (("cut.pt",), "cut.pt is damaged or incomplete"),
        (("cut.safetensors",), "cut.safetensors is damaged or incomplete"),
        (("cut.pt2",), "cut.pt2 is damaged or incomplete"),
        (("whole.pt",), "could run code"),
        (("network.onnx",), "ONNX is not read"),
        (("cnn.pt",), "'1.running_mean' is neither a weight nor a bias"),
        (("a.pt", "--module", "factories:wide"), "'0.weight' has shape (8, 2), where the module of factories:wide has"),
        (("a.pt", "--module", "factories:cnn"), "Give the factory of the architecture"),
        (("a.pt", "--module", "factories:rleu"), 'did you mean "relu"?'),
        (("a.pt", "--module", "factories:broken"), "ValueError: no data on this machine"),
        (("factories:broken",), "It is called without arguments"),
        (("nowhere:make",), "there is no module 'nowhere'"),
        (("factories:relu", "--inputs", "2,x"), "'2,x' is no shape"),
        (("factories:relu", "--inputs", "2,3"), "does not accept example inputs of shapes [(2, 3)]"),
        (("factories:relu", "--inptus", "2,3"), "--inptus"),
        (("a.pt", "--activation", "rleu"), 'did you mean "relu"?'),
        (("a.pt", "--activation", "relu", "--module", "factories:relu"), "leave one of the two out"),
        (("cnn.pt2", "--module", "factories:cnn"), "brings its own module"),
        ((), "SOURCE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_message_with_its_remedy(
    run: Program, folder: Path, verb: str, words: tuple[str, ...], hint: str
) -> None:
    for suffix, whole in ((".pt", "a.pt"), (".safetensors", "hidden.safetensors"), (".pt2", "cnn.pt2")):
        (folder / f"cut{suffix}").write_bytes((folder / whole).read_bytes()[:300])
    torch.save(relu(0), "whole.pt")
    (folder / "network.onnx").touch()
    torch.save(call_factory("factories:cnn")[0].state_dict(), "cnn.pt")
    told = run(verb, *words)
    assert told.code == 2
    assert hint in " ".join(told.err.split())
    assert "Traceback" not in told.err


@pytest.mark.parametrize("words", [("--elements", 0), ("--log-scale", -1), ("--log-scale", 300)])
def test_numbers_out_of_range_are_a_message(run: Program, words: tuple[object, ...]) -> None:
    told = run("check", "factories:relu", *words)
    assert told.code == 2
    assert "expected at least 1" in told.err


@pytest.mark.parametrize("verb", ["spec", "check", "same", "align"])
def test_help_warns_of_code(run: Program, verb: str) -> None:
    told = run(verb, "--help")
    assert told.code == 0
    assert "runs its code" in " ".join(told.out.replace("│", " ").split())


def test_json_writes_over_nothing_unless_forced(run: Program, folder: Path) -> None:
    before = (folder / "a.pt").read_bytes()
    told = run("spec", "a.pt", "--json", "a.pt")
    assert told.code == 2
    assert "a.pt exists. Remedy: give another name, or --force" in told.err
    assert (folder / "a.pt").read_bytes() == before
    for code, words in ((0, ()), (2, ()), (0, ("--force",))):
        assert run("spec", "a.pt", "--json", "spec.json", *words).code == code
    assert "is a folder" in run("spec", "a.pt", "--json", ".", "--force").err


def test_a_tolerance_that_nothing_meets_is_a_message(run: Program) -> None:
    told = run("check", "factories:relu", "--tolerance", "nan")
    assert told.code == 2
    assert "tolerance is nan; expected zero or more" in told.err
