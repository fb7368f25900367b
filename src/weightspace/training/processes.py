"""One run on several processes, started by torchrun: each takes a share of every batch, and all hold equal weights."""

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed

from weightspace.errors import TrainingError, unknown

__all__ = ["PRECISIONS", "Processes", "accelerator"]

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""Names of precisions, as Lightning Fabric calls them. In bfloat16 products are computed; weights stay float32."""


class Processes:
    """The processes of a run and what they do together. A run without torchrun is one process, and nothing is sent.

    Gradients are added up in one message per step. Wrappers that send them layer by layer gain nothing for models of
    this size, and average over processes, which is wrong where their shares of a batch differ.

    Args:
        device: auto, cpu or cuda.
        precision: one of `PRECISIONS`.

    Raises:
        TrainingError: when the device does not exist.
        UnknownNameError: another precision.

    Example:
        >>> alone = Processes("cpu", "float32")
        >>> alone.count, alone.first, alone.share(10)
        (1, True, slice(0, 10, None))
    """

    def __init__(self, device: str, precision: str) -> None:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        count = int(os.environ.get("WORLD_SIZE", "1"))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", str(count)))
        self.fabric = Fabric(
            accelerator=accelerator(device),
            devices=here,
            num_nodes=count // here,
            strategy="ddp" if count > 1 else "auto",
            precision=PRECISIONS[precision],
        )
        if count > 1 and not distributed.is_initialized():
            self.fabric.launch()
            # Left to the end of the interpreter, gloo's threads now and then end the process by SIGABRT.
            atexit.register(_part)
        self.count, self.rank = count, self.fabric.global_rank if count > 1 else 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.fabric.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, items: int) -> slice:
        """The part of so many items that is this process's; parts differ by one item at most."""
        return slice(items * self.rank // self.count, items * (self.rank + 1) // self.count)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes, in one message."""
        if self.count == 1:
            return
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(message)
        parts = message.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, value: Any) -> list[Any]:
        """What every process has, on every process."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def by_first(self, action: Callable[[], Any]) -> Any:
        """Done by the first process alone; what it gives, or raises, is known to all when this returns."""
        if self.count == 1:
            return action()
        said: list[Any] = [None]
        if self.first:
            try:
                said = [action()]
            except Exception as error:  # it is raised again, everywhere
                said = [error]
        distributed.broadcast_object_list(said)
        if isinstance(said[0], Exception):
            raise said[0]
        return said[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within it what is said of a process that has died is what a person can use."""
        try:
            yield
        except RuntimeError as error:
            # NCCL has a class for it, gloo has none.
            if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
                raise
            raise TrainingError(
                f"process {self.rank} of {self.count} cannot reach the others: one of them has died, and what it said "
                f"last stands above. The checkpoints are whole: start the same command again to go on. ({error})"
            ) from error


def _part() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def accelerator(device: str) -> str:
    """The device that a setting means: cpu, cuda, or auto for cuda if there is one.

    Raises:
        TrainingError: cuda where there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device is cuda, but PyTorch sees no GPU here: use cpu or auto.")
    return device
