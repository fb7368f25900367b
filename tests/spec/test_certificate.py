"""Certificates, and rules made wrong on purpose: what is false is refuted, what is missing is counted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.laws.registry import mlp
from tests.spec.rows import ROWS, X, chain
from torch import nn

from weightspace.errors import SpecError
from weightspace.spec import FIXED, PERMUTATION, spec_of
from weightspace.spec.activations import ACTIVATIONS
from weightspace.spec.certificate import certify
from weightspace.spec.network import NetworkSpec
from weightspace.spec.trace.tracer import Tracer
from weightspace.testing import function_error

Patch = Callable[[pytest.MonkeyPatch], None]


def test_the_rank_proves_that_nothing_is_missing() -> None:
    """A 2-5-4-1 ReLU network has 44 parameters and 9 positive factors; its Jacobian has rank 35."""
    module = mlp((2, 5, 4, 1), nn.ReLU())
    found = certify(spec_of(module))
    assert (found.parameters, found.orbit, found.rank, found.missed) == (44, 9, 35, 0)
    assert found.function_error < 1e-9
    assert "no continuous symmetry is missing" in str(found)


def test_linear_freedom_counts_as_missed() -> None:
    """Between linear layers any invertible matrix would do, and the biases may trade: 4 x 4 - 4 and 4 more."""
    module = chain(nn.Linear(4, 4), nn.Linear(4, 4))
    found = certify(spec_of(module))
    assert found.missed == 4 * 4 - 4 + 4
    assert "16 more directions" in str(found)


def test_what_is_left_out_is_missed() -> None:
    module = mlp((2, 5, 4, 1), nn.ReLU())
    spec = spec_of(module)
    less = spec.with_symmetry(FIXED)
    object.__setattr__(less, "_origin", spec._origin)
    assert certify(less).missed == 9


@pytest.mark.parametrize("name", ["batch norm", "lstm cell"])
def test_without_a_rank(name: str) -> None:
    row = ROWS[name]
    found = certify(spec_of(row.module, row.inputs))
    assert found.function_error < 1e-9
    assert found.missed is None or found.rank is not None
    assert "function error" in str(found)


# ---- mutants


def wrong_times(patch: pytest.MonkeyPatch) -> None:
    """A wrong power of the leg: products scale as their quotient."""
    patch.setattr(Tracer, "times", Tracer.over)


def forgotten_tie(patch: pytest.MonkeyPatch) -> None:
    """Sums no longer ask that both terms scale alike."""
    patch.setattr(Tracer, "equal", lambda t, a, b: a)


def gelu_scales(patch: pytest.MonkeyPatch) -> None:
    """A scale is let through GELU."""
    patch.setitem(ACTIVATIONS, "gelu", replace(ACTIVATIONS["gelu"], positive=1))


def everything_odd(patch: pytest.MonkeyPatch) -> None:
    """A sign is let through ReLU."""
    patch.setitem(ACTIVATIONS, "relu", replace(ACTIVATIONS["relu"], sign=1))


def square_keeps_its_power(patch: pytest.MonkeyPatch) -> None:
    """A factor leaves the square as it came in."""
    patch.setitem(ACTIVATIONS, "square", replace(ACTIVATIONS["square"], positive=1))


def sums_over_scaled_units(patch: pytest.MonkeyPatch) -> None:
    """Units that scale apart are added."""
    patch.setattr(Tracer, "unscale", lambda t, dims: None)


MUTANTS: list[tuple[str, Patch]] = [
    ("linear", wrong_times),
    ("residual", forgotten_tie),
    ("gelu", gelu_scales),
    ("linear", everything_odd),
    ("square", square_keeps_its_power),
    ("linear", sums_over_scaled_units),
]


def error(spec: NetworkSpec, name: str) -> float:
    row = ROWS[name]
    return function_error(row.module, spec, row.inputs, randomise=True, log_scale=1.0)


@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=[mutant.__name__ for _, mutant in MUTANTS])
def test_mutants_are_caught(name: str, mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]
    mutant(monkeypatch)
    assert error(spec_of(row.module, row.inputs, verify=False), name) > 1e-3
    checked = spec_of(row.module, row.inputs)
    assert any("taken back" in note.reason for note in checked.notes)
    assert error(checked, name) < 1e-9
    with pytest.raises(SpecError, match="please report the module"):
        spec_of(row.module, row.inputs, strict=True)


def test_a_false_scale_is_taken_back_to_a_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    gelu_scales(monkeypatch)
    spec = spec_of(ROWS["gelu"].module, X)
    assert spec.axis("0").symmetry == PERMUTATION
    assert [note.subject for note in spec.notes] == ["axis 0"]


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("this layer is not copied")


def test_a_module_that_cannot_be_copied_is_read_unchecked() -> None:
    module = chain(Uncopied(3, 4), nn.ReLU(), nn.Linear(4, 2))
    spec = spec_of(module, torch.zeros(5, 3))
    assert spec.free_axes
    assert "not checked on the network itself" in spec.report()
    with pytest.raises(SpecError, match="copy in float64: this layer is not copied"):
        spec.report(verify=True)
