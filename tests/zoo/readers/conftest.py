"""Files that would run code if they were unpickled, and what tells that one did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path: Path) -> Callable[[Path], Path]:
    """Turns a file into one that runs code when it is unpickled; gives what it would make."""

    def set_in(file: Path) -> Path:
        sign = tmp_path / "code-ran"
        torch.save({"0.weight": Trap(sign)}, file)
        return sign

    return set_in
