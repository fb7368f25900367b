"""``weightspace zoo card``: the card of a zoo, as the Hugging Face hub shows it."""

from pathlib import Path

from weightspace.zoo import open_zoo, write_card
from weightspace.zoo.card import CARD_FILE

__all__ = ["card"]


def card(zoo: Path, /, *, license: str | None = None, replace: bool = False) -> int:
    """Write README.md into a zoo: what it holds, how it was made, and what the Hugging Face hub asks for.

    Args:
        zoo: folder of the zoo.
        license: as the hub names licences, such as cc-by-4.0; if left out, that of the card that is there, or unknown.
        replace: also a README.md that you changed or wrote.
    """
    if write_card(open_zoo(zoo), license=license, replace=replace):
        print(f"{zoo / CARD_FILE} is written.")
        return 0
    print(f"{zoo / CARD_FILE} was not written by weightspace, or was changed; it is kept. --replace writes it anew.")
    return 1
