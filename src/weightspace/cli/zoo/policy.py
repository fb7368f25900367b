"""``weightspace zoo make policy``: small policies for classic control, at all stages of training."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import quality, size
from weightspace.cli.zoo.plan import tell
from weightspace.zoo import write_card
from weightspace.zoo.generate import Engine, PolicySettings, make_policy_zoo
from weightspace.zoo.generate.estimate import policy_estimate

__all__ = ["policy"]


def policy(
    *,
    out: Path,
    count: int = 100,
    plan: bool = False,
    settings: Annotated[PolicySettings, Parameter(name="*")] = PolicySettings(),  # noqa: B008 - frozen
    engine: Annotated[Engine, Parameter(name="*")] = Engine(),  # noqa: B008 - frozen
) -> None:
    """Train and judge policies for a control problem, many side by side, into a zoo; go on with the one that is there.

    Each run draws its hyper-parameters from the ranges given, and has a row for each of its checkpoints and for each
    spoilt copy of the last.

    Args:
        out: folder of the zoo.
        count: runs in all. A later call may ask for more: those that are there are kept.
        plan: say what time, memory and disk it will take, measured for a few seconds, and make nothing.
        settings: of the training.
        engine: where its shards are made.
    """
    if plan:
        return tell(out, engine, partial(policy_estimate, settings, count=count))

    with bars() as report:
        done = 0

        def advance(runs: int) -> None:
            nonlocal done
            done += runs
            report(f"Learning {settings.environment}", done, count, "runs")

        zoo = make_policy_zoo(out, settings, count=count, progress=advance, engine=engine)
    write_card(zoo)
    print(f"{out}: {size(zoo)} policies of {zoo.spec.numel:,} parameters, {quality(zoo)}.")
