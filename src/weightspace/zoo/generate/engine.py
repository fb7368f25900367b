"""Where the shards of a zoo are made: in this process, or as tasks of Ray."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from weightspace.errors import TrainingError, unknown

__all__ = ["ENGINES", "Engine", "Make", "Progress", "engine_of", "made_by"]

Made = TypeVar("Made")

Progress = Callable[[int], None]
"""Called with the number of networks that have just been finished."""

Make = Callable[[Tensor, Progress | None], Made]
"""What networks of some numbers give, and what to tell of each that is finished."""

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Where the shards of a zoo are made. The same shards come out, to the byte, where processors are alike.

    Args:
        engine: "local": in this process, on as many threads as torch has; "ray": each shard is a task of Ray, on one
            machine or a cluster, with as many threads as torch has here.
        ray_address: of the cluster; left out, that of RAY_ADDRESS, and without one a Ray of its own on this machine.

    Raises:
        UnknownNameError: an engine that does not exist.
        TrainingError: an address without Ray.

    Example:
        >>> Engine("ray", ray_address="auto")
        Engine(engine='ray', ray_address='auto')
    """

    engine: str = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        if self.ray_address is not None and self.engine != "ray":
            raise TrainingError(
                f"an address of Ray ({self.ray_address}) is given for the engine {self.engine!r}, which has no use for "
                f"it. Remedy: ask for the engine 'ray', or leave the address out."
            )


def engine_of(engine: str | Engine) -> Engine:
    """An engine by its name, or as it is.

    Raises:
        UnknownNameError: an engine that does not exist.

    Example:
        >>> engine_of("ray").engine
        'ray'
    """
    return engine if isinstance(engine, Engine) else Engine(engine)


def made_by(
    engine: Engine, make: Make[Made], shards: Mapping[int, Tensor], progress: Progress | None
) -> Generator[tuple[int, Made], None, None]:
    """What is made of each shard, with its number, as they come.

    Args:
        engine: that makes them. Ray gives them in any order.
        make: a shard of networks, given their numbers. For Ray it must be picklable, or a function that its pickler
            knows how to take along.
        shards: numbers of the networks of each.
        progress: called with the number of networks that have just been finished; by Ray, when the caller asks for the
            next shard.

    Raises:
        TrainingError: Ray is not installed, cannot be reached, has no node with enough processors, or lost a shard's
            worker again and again.

    Example:
        >>> import torch
        >>> dict(made_by(Engine(), lambda numbers, _: numbers.sum().item(), {4: torch.arange(3)}, None))
        {4: 3}
    """
    if engine.engine == "ray":
        # Here, so that those who do not use it need not have it.
        from weightspace.zoo.generate.cluster import made_by_ray

        yield from made_by_ray(make, shards, engine.ray_address, progress)
        return
    for shard, numbers in shards.items():
        yield shard, make(numbers, progress)
