"""What ``--plan`` prints: time, memory and disk that a zoo will take."""

from collections.abc import Callable
from pathlib import Path

import torch

from weightspace.errors import TrainingError
from weightspace.zoo.generate import Engine
from weightspace.zoo.generate.estimate import Estimate

__all__ = ["tell"]


def tell(out: Path, engine: Engine, estimate: Callable[[], Estimate]) -> None:
    """Prints what a zoo will take."""
    if engine.engine != "local":
        raise TrainingError(
            f"the plan is for the engine {engine.engine!r}; what a zoo takes is measured on this machine alone. "
            f"Remedy: leave out the engine, and divide the time by the machines that you have."
        )
    told = estimate()
    print(
        f"{told.networks:,} networks of {told.steps:,.0f} steps on average: about {_duration(told.seconds)}, "
        f"{told.memory / 1e9:.1f} GB of memory and {_amount(told.disk)} in {out}.\n"
        f"Measured in {told.measured:.0f} s on {torch.get_num_threads()} threads; nothing was written."
    )


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
