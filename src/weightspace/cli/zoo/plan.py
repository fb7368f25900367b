"""What ``--plan`` prints: time, memory and disk that a zoo will take."""

from pathlib import Path

import torch

from weightspace.zoo.generate.estimate import Estimate

__all__ = ["tell"]


def tell(out: Path, told: Estimate) -> None:
    """Prints what a zoo will take."""
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
