"""The fixtures as a project finds them that has only installed the package: in a pytest of its own."""

import subprocess
import sys
import tomllib
from pathlib import Path
from zlib import crc32

import pytest
import torch

ROOT = Path(__file__).parents[2]
ASSERTIONS = """
import torch
from torch import nn

from weightspace.spec import spec_of
from weightspace.weights import flatten

CHAIN = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
SPEC = spec_of(CHAIN)


def test_right(assert_equivariant, assert_invariant, assert_function_preserved):
    assert_equivariant(lambda x: x.map(torch.tanh), SPEC)
    assert_invariant(lambda x: flatten(x).square().sum(1), SPEC)
    assert_function_preserved(CHAIN, SPEC, torch.ones(5, 2))


def test_wrong(assert_invariant):
    assert_invariant(lambda x: flatten(x).sum(1), SPEC)
"""
DRAWS = """
import pytest
import torch


@pytest.mark.parametrize("number", range(2))
def test_draws(seeded_generator, number):
    print("drawn", number, torch.rand(1, generator=seeded_generator).item())
"""
QUIET = """
import sys


def test_quiet():
    assert "weightspace.testing.plugin" in sys.modules
    assert not {"torch", "numpy"} & set(sys.modules)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder for tests, and beside it what an installation leaves: the entry points of the package."""
    installed = tmp_path / "site" / "weightspace_for_test-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: weightspace-for-test\nVersion: 0\n")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    (installed / "entry_points.txt").write_text("[pytest11]\n" + "".join(f"{k} = {v}\n" for k, v in declared.items()))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p no:jaxtyping\n")
    return tmp_path / "project"


def run(project: Path, tests: str, *arguments: str) -> str:
    (project / "test_mine.py").write_text(tests)
    path = f"{project.parent / 'site'}:{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rP", *arguments],
        cwd=project,
        env={"PYTHONPATH": path, "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout


def drawn(report: str) -> list[str]:
    return [line for line in report.splitlines() if line.startswith("drawn")]


def test_assertions(project: Path) -> None:
    report = run(project, ASSERTIONS, "--weightspace-seed=7")
    assert "1 failed, 1 passed" in report
    assert "AssertionError: not invariant: error" in report
    assert "seed 7)" in report


def test_every_test_has_draws_of_its_own(project: Path) -> None:
    """They follow from its name and the option alone, whichever tests run beside it."""
    found = [line.split()[-1] for line in drawn(run(project, DRAWS, "--weightspace-seed=7"))]
    seeds = [crc32(f"test_mine.py::test_draws[{number}]".encode()) ^ 7 for number in (0, 1)]
    assert found == [str(torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()) for seed in seeds]
    assert found[0] != found[1]


def test_pytest_starts_without_torch(project: Path) -> None:
    assert "1 passed" in run(project, QUIET)


def test_names_are_loaded_when_asked_for() -> None:
    code = (
        "import sys, weightspace.testing as t; assert 'torch' not in sys.modules; names = t.__all__; "
        "assert all(getattr(t, n) for n in names); assert 'torch' in sys.modules and 'hypothesis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import weightspace.testing

    with pytest.raises(AttributeError, match="no attribute 'assert_equivarant'"):
        weightspace.testing.assert_equivarant  # noqa: B018
