"""What every test shares: the markers, quiet threads, a cache of its own, and a disk that refuses on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from tests.shapes import jaxtyped

# Before anything imports the package: the import hook takes the wrapper from there.
jaxtyping.jaxtyped = jaxtyped

Refuse = Callable[..., None]


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


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Lets a function of `os` pass a number of times and fail every later one."""

    def start(name: str, code: int, after: int = 0) -> None:
        real, passes = getattr(os, name), iter(range(after))

        def call(*args: object) -> object:
            if next(passes, None) is None:
                raise OSError(code, os.strerror(code))
            return real(*args)

        monkeypatch.setattr(os, name, call)

    return start
