"""``weightspace zoo check``: every byte of a zoo or of a set of plumes, compared with what was written."""

import sys
from pathlib import Path

from weightspace.cli.zoo.info import collection_there, plumes_there, size
from weightspace.zoo import check as problems_of
from weightspace.zoo import check_plumes, open_plumes, open_zoo
from weightspace.zoo.collection import collection_names

__all__ = ["check"]


def check(path: Path, /) -> int:
    """Read every file of a zoo, of a folder of zoos or of a set of plumes and compare its checksum; list what is wrong.

    Args:
        path: the folder.
    """
    if collection_there(path):
        # All of them are read, whatever is wrong with the first.
        return max([check(path / name) for name in collection_names(path)])
    plumes = plumes_there(path)
    problems = check_plumes(path) if plumes else problems_of(path)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sound = f"{len(open_plumes(path).tasks) - len(problems)} plumes" if plumes else _networks(path)
        print(f"Problems: {len(problems)}. Readable: {sound}.", file=sys.stderr)
        return 1
    print(f"{size(open_plumes(path))} plumes, all sound." if plumes else f"{size(open_zoo(path))} networks, all sound.")
    return 0


def _networks(path: Path) -> str:
    return f"{len(open_zoo(path, skip_damaged=True)):,} networks"
