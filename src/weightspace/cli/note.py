"""What the reader should know about how a network was read."""

from collections.abc import Iterable

from weightspace.spec import Note

__all__ = ["print_notes"]


def print_notes(notes: Iterable[Note]) -> None:
    """One line per note, each note once."""
    for note in dict.fromkeys(notes):
        print(f"note on {note.subject}: {note.reason}")
