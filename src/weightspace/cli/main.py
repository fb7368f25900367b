"""The entry point: the list of verbs, and what a person sees when something goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from keyword import iskeyword

from cyclopts import App, CycloptsError, Parameter

import weightspace
from weightspace.allocator import keep_freed_memory
from weightspace.errors import WeightspaceError, unknown

__all__ = ["application", "main"]

# Each verb is the function of that name in the file of that name.
_VERBS = {
    "demo": "From real images to a trained metanetwork and a report.",
    "train": "Train one model on a zoo.",
    "evaluate": "Say what the model of a run is worth on a split of a zoo.",
    "predict": "Say what the model of a run makes of new networks.",
    "bench": "Train and judge models side by side, and write the pages.",
    "runs": "List and compare runs, and draw their curves.",
    "report": "Write the page of a finished run again.",
    "spec": "Say which transformations of a network's weights leave its function unchanged.",
    "check": "Move a network's weights by its symmetries and say how much its function changes.",
    "same": "Say whether networks are equal up to their symmetries.",
    "align": "Move a network as near to another as its symmetries allow.",
}
_ZOO_VERBS = {
    "make": "Fit one network per image into a zoo; or make other zoos, or plumes.",
    "import": "Read networks that are stored in another format into a zoo.",
    "merge": "Write the networks of several zoos to a new one.",
    "append": "Add the networks of zoos to another.",
    "take": "Write some networks of a zoo, or all in another type, to a new one.",
    "export": "Write a zoo as a data set of Parquet files.",
    "card": "Write the card of a zoo, as the Hugging Face hub shows it.",
    "info": "Say what a zoo, or a set of plumes, holds.",
    "check": "Read every file and compare its checksum.",
}
# What the operating system refuses because of the machine and not because of a bug. Files that a verb writes have
# errors of their own by then; what is left are those that it reads, temporary folders and the terminal.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def application() -> App:
    """The verbs, each by the import path of its function: a verb is imported when it is called."""
    app = App(
        name="weightspace",
        help="Learning on networks: read their symmetries, compare and align them; make zoos of networks, train models "
        "that read their weights, look at the results.",
        version=weightspace.__version__,
        default_parameter=Parameter(consume_multiple=True, negative_iterable=(), negative_none=()),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    zoo = App(name="zoo", help="Folders of trained networks: make them, look at them, check them.")
    for name, text in _VERBS.items():
        app.command(f"weightspace.cli.{name}:{name}", name=name, help=text)
    for name, text in _ZOO_VERBS.items():
        # A file and a function cannot be called import.
        place = f"{name}_" if iskeyword(name) else name
        zoo.command(f"weightspace.cli.zoo.{place}:{place}", name=name, help=text)
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
    words = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None:
        # A cluster that takes a machine back says so by SIGTERM: the same as Ctrl-C.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        _check_verb(words)
        keep_freed_memory()
        with warnings.catch_warnings():
            # Where a program of torch.export is copied, torch warns of its own code.
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            code = application()(words, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError:
        return 2  # the library has said what is wrong
    except WeightspaceError as error:
        return _complain(str(error))
    except BrokenPipeError:
        # Who reads the output has enough of it. What is still in the buffer must go somewhere as Python closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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


def _check_verb(words: Sequence[str]) -> None:
    """Refuses a verb that does not exist; the library would import all of them first, which takes seconds."""
    levels = {(): (*_VERBS, "zoo"), ("zoo",): tuple(_ZOO_VERBS)}
    for place, word in enumerate(words):
        valid = levels.get(tuple(words[:place]))
        if valid is None or word.startswith("-"):
            return
        if word not in valid:
            raise unknown("verb", word, valid)


def _complain(message: str) -> int:
    print(f"weightspace: {message}", file=sys.stderr)
    return 2
