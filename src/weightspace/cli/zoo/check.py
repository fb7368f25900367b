"""``weightspace zoo check``: every byte of a zoo, compared with what was written."""

import sys
from pathlib import Path

from weightspace.cli.zoo.info import size
from weightspace.zoo import check as problems_of
from weightspace.zoo import open_zoo

__all__ = ["check"]


def check(path: Path, /) -> int:
    """Read every shard of a zoo and compare its checksum; list all that is wrong.

    Args:
        path: the zoo's folder.
    """
    problems = problems_of(path)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sound = len(open_zoo(path, skip_damaged=True))
        print(f"Problems: {len(problems)}. Readable: {sound:,} networks.", file=sys.stderr)
        return 1
    print(f"{size(open_zoo(path))} networks, all sound.")
    return 0
