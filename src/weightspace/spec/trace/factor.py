"""The factors of a set of units: which unknowns are left free, in the coordinates that a reader would choose."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

from weightspace.spec.trace.form import NOTHING, Form, System

__all__ = ["Coordinates"]


@dataclass
class Coordinates:
    """Powers of factors for linear forms in unknowns.

    The first independent forms become the factors, so what stands first has power one in a factor of its own: the
    places of a network in the order of computation. Ahead of a normalisation and behind it are then two factors,
    and a depthwise channel has the factor that it receives and its own.

    Args:
        system: the equations between the unknowns.
        forms: all forms that powers are wanted of.
    """

    system: System
    forms: Sequence[Form]
    _rows: list[tuple[int, Form, Form]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forms = [self.system.reduce(form) for form in self.forms]
        for form in self.forms:
            rest, made = self._eliminated(form)
            if rest:
                own = self.system.sum(({len(self._rows): Fraction(1)}, 1), (made, -1))
                self._rows.append((next(iter(rest)), rest, own))
        denominators = [1] * len(self._rows)
        for form in self.forms:
            for factor, power in self._eliminated(form)[1].items():
                denominators[factor] = lcm(denominators[factor], power.denominator)
        self.times = denominators
        self.kept = list(range(len(self._rows)))

    def _eliminated(self, form: Form) -> tuple[Form, Form]:
        """What the factors so far cannot make of a form, and the powers of what they can."""
        rest, made = form, NOTHING
        for pivot, row, own in self._rows:
            if pivot in rest:
                share = rest[pivot] / row[pivot]
                rest = self.system.sum((rest, 1), (row, -share))
                made = self.system.sum((made, 1), (own, share))
        return rest, made

    def powers(self, form: Form) -> tuple[int, ...]:
        """One integer for each factor that is kept."""
        made = self._eliminated(self.system.reduce(form))[1]
        return tuple(int(made.get(factor, Fraction(0)) * self.times[factor]) for factor in self.kept)

    def drop_repeated(self, uses: Sequence[tuple[Form, Sequence[tuple["Coordinates", Form]]]]) -> None:
        """Leave out the factors that those of others can stand for.

        Args:
            uses: every form in these coordinates, with the forms in other coordinates that always stand with it.
        """
        columns: dict[tuple[int, int], dict[int, Fraction]] = {}
        for use, (_, beside) in enumerate(uses):
            for other, form in beside:
                for factor, power in enumerate(other.powers(form)):
                    column = columns.setdefault((id(other), factor), {})
                    column[use] = column.get(use, Fraction(0)) + power
        powers = [self.powers(form) for form, _ in uses]
        span = System(self.system.modulus)
        for column in columns.values():
            span.demand(column)
        kept = []
        for number, factor in enumerate(self.kept):
            own = {use: Fraction(row[number]) for use, row in enumerate(powers)}
            if span.reduce(span.sum((own, 1))):
                span.demand(own)
                kept.append(factor)
        self.kept = kept
