"""The optimiser and the learning rate, which is a function of the step alone and so needs no state."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import AdamW, Optimizer

from weightspace.errors import unknown

__all__ = ["SCHEDULES", "adamw", "learning_rate", "set_rate"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}
"""The factor of the learning rate by name, as a function of the share (0 to 1) of the steps after the warm-up done."""


def learning_rate(step: int, steps: int, *, peak: float, warmup: float, schedule: str) -> float:
    r"""The learning rate of one step: a linear rise, then the schedule.

    With `w = round(warmup * steps)` it is :math:`peak \cdot (step + 1) / w` while `step < w`, and then
    :math:`peak \cdot f((step - w) / (steps - w))` with the schedule's factor `f`.

    Args:
        step: the step, from 0.
        steps: the steps of the whole run.
        peak: the largest learning rate.
        warmup: the share of the steps in the rise.
        schedule: a name in `SCHEDULES`.

    Raises:
        UnknownNameError: when there is no such schedule.

    Example:
        >>> [learning_rate(step, 4, peak=1.0, warmup=0.5, schedule="cosine") for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * SCHEDULES[schedule]((step - rising) / (steps - rising))


def adamw(model: nn.Module, *, weight_decay: float) -> AdamW:
    """AdamW over the parameters that are trained, with weight decay only where it means something.

    Decay pulls a map towards a smaller one. Biases, gains and other parameters of fewer than two dimensions (or named
    "bias") are offsets and scales, and keep their size.

    Args:
        model: whose parameters are trained.
        weight_decay: the decoupled decay of all others.

    References:
        Decoupled Weight Decay Regularization, I. Loshchilov and F. Hutter, 2019.

    Example:
        >>> [group["weight_decay"] for group in adamw(nn.Linear(2, 3), weight_decay=0.1).param_groups]
        [0.1, 0.0]
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    free = [name.rpartition(".")[2] == "bias" or parameter.ndim < 2 for name, parameter in trained]
    groups = [
        {
            "params": [p for (_, p), is_free in zip(trained, free, strict=True) if not is_free],
            "weight_decay": weight_decay,
        },
        {"params": [p for (_, p), is_free in zip(trained, free, strict=True) if is_free], "weight_decay": 0.0},
    ]
    # One fused update over all parameters: on small models the default loop over parameters costs a fifth of a step.
    return AdamW(groups, fused=True)


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Give every parameter this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
