"""The kit as fixtures of pytest, which finds this file by itself. It imports torch only when a test asks for a fixture.

def test_my_layer(assert_equivariant, layer, spec):
    assert_equivariant(layer, spec)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

if TYPE_CHECKING:
    import torch

__all__ = [
    "assert_equivariant",
    "assert_function_preserved",
    "assert_invariant",
    "pytest_addoption",
    "seeded_generator",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option by which a run is repeated with other draws."""
    parser.getgroup("weightspace").addoption(
        "--weightspace-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the networks and group elements that the fixtures of weightspace draw (default: 0)",
    )


@pytest.fixture
def assert_equivariant(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`weightspace.testing.assert_equivariant`, seeded by `--weightspace-seed`."""
    from weightspace.testing.law import assert_equivariant

    return partial(assert_equivariant, seed=_seed(request))


@pytest.fixture
def assert_invariant(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`weightspace.testing.assert_invariant`, seeded by `--weightspace-seed`."""
    from weightspace.testing.law import assert_invariant

    return partial(assert_invariant, seed=_seed(request))


@pytest.fixture
def assert_function_preserved(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`weightspace.testing.assert_function_preserved`, seeded by `--weightspace-seed`."""
    from weightspace.testing.function import assert_function_preserved

    return partial(assert_function_preserved, seed=_seed(request))


@pytest.fixture
def seeded_generator(request: pytest.FixtureRequest) -> torch.Generator:
    """A generator on the CPU, its seed made of `--weightspace-seed` and the test's name: no test moves another's."""
    import torch

    return torch.Generator().manual_seed(crc32(request.node.nodeid.encode()) ^ _seed(request))


def _seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--weightspace-seed"))
