"""How each model looks, the same in every figure of every table."""

from collections.abc import Iterable

from weightspace.reports.theme import Style, styles

__all__ = ["bench_styles"]

# Models that share a colour, seven places apart, are unlike each other and differ in dashes and marker as well.
_ORDER = (
    *("FlatMLP", "DeepSets", "ScaleGMN", "MonomialNFN", "MAGEPNFN", "FunctionProbe", "ScaleGMN-B"),
    *("StatNN", "NeuronTransformer", "GMN", "NP", "HNP", "GaugeGMN", "Phased", "NGGNN"),
)
_COLOURS = tuple(style.colour for style in styles(map(str, range(7))).values())
_MARKERS = ("s", "D", "o", "^", "v", "P", "X", "p", "h", "<", "d", ">", "*", "H", "8")
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (1.2, 1.4), (6, 1.4, 1.2, 1.4))


def bench_styles(names: Iterable[str]) -> dict[str, Style]:
    """One style per row of a table.

    A model of the comparison looks the same in every table. A variant ("model, what differs") takes the colour of its
    model with other dashes and another marker. Any other name comes after them, in the order of the table.

    Args:
        names: of the rows, in the table's order.

    Example:
        >>> alone, among = bench_styles(["NP"])["NP"], bench_styles(["FlatMLP", "NP"])["NP"]
        >>> alone == among
        True
        >>> bench_styles(["NP", "NP, small"])["NP, small"].colour == alone.colour
        True
    """
    places = {name: place for place, name in enumerate(_ORDER)}
    found: dict[str, Style] = {}
    variants: dict[str, int] = {}
    for name in dict.fromkeys(names):
        stem = name.split(",")[0].strip()
        place = places.setdefault(stem, len(places))
        again = variants.get(stem, 0) if name == stem else variants.get(stem, 0) + 1
        variants[stem] = again
        dashes = _DASHES[(place // len(_COLOURS) + again) % len(_DASHES)]
        marker = _MARKERS[(place + 5 * again) % len(_MARKERS)]
        found[name] = Style(_COLOURS[place % len(_COLOURS)], dashes, marker)
    return found
