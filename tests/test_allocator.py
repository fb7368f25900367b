"""Freed memory is kept: a large tensor that is freed leaves the process as large as it was."""

import subprocess
import sys

import pytest

from weightspace.allocator import keep_freed_memory

HELD = """
import torch
from weightspace.allocator import keep_freed_memory

def pages():
    return int(open("/proc/self/statm").read().split()[1])

print(keep_freed_memory() if {keep} else False)
before = pages()
tensor = torch.ones(2**24)
del tensor
print((pages() - before) * 4096 / 2**26)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("keep", [True, False])
def test_kept(keep: bool) -> None:
    """A tensor of 64 MiB, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", HELD.format(keep=keep)], capture_output=True, text=True, check=True)
    kept, share = done.stdout.split()
    assert (kept == "True") == (keep and keep_freed_memory())
    assert (float(share) > 0.9) == (kept == "True")


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
