"""``weightspace zoo make policy``: small policies for classic control, at all stages of training."""

from functools import partial
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.zoo.order import Order, carry_out
from weightspace.zoo.generate import PolicySettings, make_policy_zoo
from weightspace.zoo.generate.estimate import policy_estimate

__all__ = ["policy"]


def policy(
    *,
    order: Annotated[Order, Parameter(name="*")],
    count: int = 100,
    settings: Annotated[PolicySettings, Parameter(name="*")] = PolicySettings(),  # noqa: B008 - frozen
) -> None:
    """Train and judge policies for a control problem, many side by side, into a zoo; go on with the one that is there.

    Each run draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints and for each
    spoilt copy of the last.

    Args:
        order: of the zoo.
        count: runs in all. A later call may ask for more: those that are there are kept.
        settings: of the training.
    """
    ask = partial(policy_estimate, settings, count=count)
    learn = partial(make_policy_zoo, settings=settings, count=count)
    carry_out(order, f"Learning {settings.environment}", count, ask, learn, unit="runs", noun="policies")
