"""Windows on runs of a dynamical system: frames that were seen, and those that follow and are to be told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import DataError, unknown

__all__ = ["PROTOCOLS", "Protocol", "Task", "Windows", "rmse"]

Task = tuple[int, ...]
"""The numbers of one run within its set."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a set of runs is cut into windows, and which of them are for what.

    Window ``s`` of a run has the past ``frames[mid - past + s : mid + s]`` and the next frames from ``mid + s`` on.

    Args:
        past: how many frames are seen.
        mid: the frame that follows the past of window 0.
        parts: the windows of each part, from the first to before the last.
        outputs: how many next frames each part has.
        domain: the part whose tasks are those held out; all others have the tasks trained on.
        training: the tasks trained on; None for all.
        held_out: the other tasks.

    Example:
        >>> PROTOCOLS["rotation"].parts["future"], len(PROTOCOLS["rotation"].held_out)
        ((200, 250), 10)
        >>> from dataclasses import replace
        >>> replace(PROTOCOLS["rotation"], mid=12).mid
        12
    """

    past: int = 10
    mid: int = 22
    parts: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"train": (0, 160), "valid": (160, 200), "future": (200, 250), "domain": (0, 100)}
    )
    outputs: Mapping[str, int] = field(default_factory=lambda: {"train": 6, "valid": 6, "future": 20, "domain": 20})
    domain: str = "domain"
    training: tuple[Task, ...] | None = None
    held_out: tuple[Task, ...] = ()

    def __post_init__(self) -> None:
        for name in ("parts", "outputs"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if not 0 < self.past <= self.mid:
            raise DataError(f"past is {self.past} and mid {self.mid}; expected 1 frame or more, and mid no smaller.")
        if set(self.parts) != set(self.outputs):
            raise DataError(f"parts are {list(self.parts)} and outputs {list(self.outputs)}; expected the same names.")

    def windows(
        self,
        frames: Callable[[Task], np.ndarray],
        tasks: Sequence[Task],
        part: str,
        outputs: int | None = None,
        chosen: Sequence[Task] | None = None,
    ) -> "Windows":
        """The windows of one part.

        Args:
            frames: gives a run, ``(frame, component, row, column)``.
            tasks: all that there are.
            part: which one.
            outputs: how many next frames; by default as the part has it.
            chosen: the tasks that count, in place of the part's.

        Raises:
            UnknownNameError: no such part.
            DataError: fewer than one next frame, or runs too short.
        """
        if part not in self.parts:
            raise unknown("part", part, self.parts)
        first, last = self.parts[part]
        runs = [frames(task) for task in (self.tasks(part, tasks) if chosen is None else chosen)]
        return Windows(
            runs,
            range(self.mid + first, self.mid + last),
            self.past,
            self.outputs[part] if outputs is None else outputs,
        )

    def tasks(self, part: str, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """Those of one part, out of all that there are."""
        if part == self.domain:
            return self.held_out
        return tuple(tasks) if self.training is None else self.training

    def counts(self, tasks: Sequence[Task], frames: int) -> dict[str, int]:
        """How many windows each part has, out of all tasks that there are; parts that need longer runs are left out.

        Args:
            tasks: all that there are.
            frames: how many each run has.

        Example:
            >>> PROTOCOLS["scale"].counts((), 309)
            {'train': 4480, 'valid': 1120, 'future': 1400, 'domain': 1000}
            >>> PROTOCOLS["scale"].counts((), 200)
            {'train': 4480, 'domain': 1000}
        """
        return {
            part: len(self.tasks(part, tasks)) * (last - first)
            for part, (first, last) in self.parts.items()
            if self.mid + last - 1 + self.outputs[part] <= frames
        }


class Windows:
    """Pairs of past and next frames, numbered run by run; a data set as torch's loaders take it.

    Args:
        runs: arrays ``(frame, component, row, column)`` of one shape, which may be mapped from the disk.
        starts: the first next frame of each window of a run.
        past: how many frames are seen.
        outputs: how many frames follow.

    Raises:
        DataError: a run that is too short for a window, no run at all, or fewer than one next frame.

    Example:
        >>> run = np.arange(8.0, dtype=np.float32).reshape(8, 1, 1, 1)
        >>> past, following = Windows([run], range(3, 6), past=3, outputs=2)[1]
        >>> past.flatten().tolist(), following.flatten().tolist()
        ([1.0, 2.0, 3.0], [4.0, 5.0])
    """

    def __init__(self, runs: Sequence[np.ndarray], starts: range, past: int, outputs: int) -> None:
        if not runs or len({run.shape for run in runs}) > 1:
            raise DataError(
                f"runs have shapes {sorted({run.shape for run in runs})}; expected one or more of one shape."
            )
        if outputs < 1:
            raise DataError(f"outputs is {outputs}; expected one next frame or more.")
        needed = max(starts, default=0) + outputs
        if len(runs[0]) < needed or min(starts, default=past) < past:
            raise DataError(
                f"runs have {len(runs[0])} frames; the windows reach from frame {min(starts, default=past) - past} to "
                f"{needed - 1}. Remedy: simulate more steps, or give a protocol with an earlier mid or fewer windows."
            )
        self.runs, self.starts, self.past, self.outputs = tuple(runs), starts, past, outputs

    def __len__(self) -> int:
        return len(self.runs) * len(self.starts)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Shapes: ``(past, component, row, column)`` and ``(outputs, component, row, column)``, float32 copies."""
        past, following = self.batch([number])
        return past[0], following[0]

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Many windows as copies in float32; ``past.flatten(1, 2)`` has its frames as channels.

        Shapes:
            result: ``(batch, past, component, row, column)`` and ``(batch, outputs, component, row, column)``.

        Args:
            numbers: of the windows, from 0.

        Raises:
            IndexError: a window that there is not.
        """
        length = self.past + self.outputs
        frames = torch.empty(len(numbers), length, *self.runs[0].shape[1:])
        for row, number in enumerate(numbers):
            if not 0 <= number < len(self):
                raise IndexError(f"window {number}; there are {len(self)}")
            run, window = divmod(number, len(self.starts))
            first = self.starts[window] - self.past
            # torch does not take memory that may not be written to without a warning, so that NumPy copies.
            frames[row].numpy()[...] = self.runs[run][first : first + length]
        return frames[:, : self.past], frames[:, self.past :]


def rmse(told: Tensor, true: Tensor) -> Tensor:
    """Root of the mean squared error over everything: batch, next frames, components and places.

    Where all batches are of one size it is the root of the mean over batches of each one's mean squared error.

    Shapes:
        told, true: ``(batch, outputs, component, row, column)``; result: ``()``.

    Example:
        >>> rmse(torch.zeros(1, 2, 2, 4, 4), torch.full((1, 2, 2, 4, 4), 3.0)).item()
        3.0
    """
    return (told - true).square().mean().sqrt()


def _pairs(text: str) -> tuple[Task, ...]:
    return tuple(tuple(map(int, pair.split(","))) for pair in text.split())


# The lists are those of the program that Wang, Walters and Yu published with their paper.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "translation": Protocol(
            training=_pairs(
                "48,10 56,10 8,20 40,5 56,25 48,20 48,5 16,20 56,5 32,10 56,15 16,5 40,15 40,25 48,25 48,15 24,10 "
                "56,20 32,15 16,15 8,10 24,15 8,15 32,25 8,5"
            ),
            held_out=_pairs("32,20 32,5 24,20 16,25 24,5 16,10 40,20 8,25 24,25 40,10"),
        ),
        "rotation": Protocol(
            training=_pairs(
                "27,2 33,0 3,2 28,3 9,0 12,3 22,1 8,3 30,1 25,0 16,3 11,2 23,2 29,0 36,3 26,1 1,0 35,2 19,2 34,1 4,3 "
                "2,1 7,2 31,2 17,0"
            ),
            held_out=_pairs("6,1 14,1 15,2 10,1 18,1 20,3 24,3 13,0 21,0 5,0"),
        ),
        "scale": Protocol(
            training=_pairs("27 9 7 11 4 26 35 2 29 10 34 12 37 28 18 24 8 14 1 31 25 0 19 15 36 3 20 13"),
            held_out=_pairs("5 30 16 23 33 6 17 22 21 32"),
        ),
        "levels": Protocol(
            past=1, mid=3, parts={"train": (0, 30), "valid": (30, 40)}, outputs={"train": 6, "valid": 6}
        ),
    }
)
"""By the kind of a set: windows and tasks of the published comparisons. One task of rotation, (32, 3), is in neither
list; in ``levels`` every task is trained on, and a comparison takes the four of one level."""
