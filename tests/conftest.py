"""What every test shares: the markers, quiet threads, and a cache of its own so that no test writes to the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with a reason, what needs the network or patience."""
    skips = {}
    if os.environ.get("WEIGHTSPACE_NETWORK") != "1":
        skips["network"] = pytest.mark.skip(reason="needs a package registry: set WEIGHTSPACE_NETWORK=1")
    if not config.getoption("--slow"):
        skips["slow"] = pytest.mark.skip(reason="takes longer than ten seconds: pass --slow")
    for item in items:
        for name, skip in skips.items():
            if name in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread per worker: the workers of a parallel run already fill the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download cache per test: tests neither use nor change the one of the person who runs them."""
    monkeypatch.setenv("WEIGHTSPACE_CACHE", str(tmp_path / "cache"))
