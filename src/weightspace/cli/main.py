"""The entry point: the list of verbs, and what a person sees when something goes wrong."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

import weightspace
from weightspace.errors import WeightspaceError

__all__ = ["application", "main"]

# What the operating system refuses because of the machine and not because of a bug. Files that a verb writes have
# errors of their own by then; what is left are those that it reads, temporary folders and the terminal.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def application() -> App:
    """The verbs, each by the import path of its function: a verb is imported when it is called."""
    app = App(
        name="weightspace",
        help="Learning on networks: make zoos of networks, train models that read their weights, look at the results.",
        version=weightspace.__version__,
        default_parameter=Parameter(consume_multiple=True, negative_iterable=(), negative_none=()),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    app.command(
        "weightspace.cli.demo:demo", name="demo", help="From real images to a trained metanetwork and a report."
    )
    app.command("weightspace.cli.train:train", name="train", help="Train one model on a zoo.")
    app.command("weightspace.cli.report:report", name="report", help="Write the page of a finished run again.")
    zoo = App(name="zoo", help="Folders of trained networks: make them, look at them, check them.")
    zoo.command("weightspace.cli.zoo.make:make", name="make", help="Fit one network per image into a zoo.")
    zoo.command("weightspace.cli.zoo.info:info", name="info", help="Say what a zoo holds.")
    zoo.command("weightspace.cli.zoo.check:check", name="check", help="Read every shard and compare its checksum.")
    app.command(zoo)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and give its exit code.

    0 is success, 1 a check that found problems, 2 a mistake the user can put right (said in a few lines, without a
    traceback), 130 an interruption. Any other exception is a bug and shows its traceback.

    Args:
        arguments: the words after the program's name; by default those of the process.

    Example:
        >>> main(["zoo", "info", "no/such/folder"])
        2
    """
    try:
        code = application()(sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False)
    except CycloptsError:
        return 2  # the library has said what is wrong
    except WeightspaceError as error:
        return _complain(str(error))
    except OSError as error:
        if error.errno not in _MACHINE:
            raise
        return _complain(f"{error}. Free space or give permission there, then run the same command again to go on.")
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What is finished is kept: run the same command again to go on from there.", file=sys.stderr
        )
        return 130
    return int(code or 0)


def _complain(message: str) -> int:
    print(f"weightspace: {message}", file=sys.stderr)
    return 2
