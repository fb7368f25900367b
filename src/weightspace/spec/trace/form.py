"""Linear forms in unknown powers, and the equations between them.

How a tensor's index scales is a linear form in unknowns: one for every index of every parameter. An operation of the
network demands equations between them (what is added must scale alike), and what the equations leave free are the
factors of the symmetry group.
"""

from collections.abc import Mapping
from fractions import Fraction

__all__ = ["NOTHING", "Form", "System"]

Form = Mapping[int, Fraction]
NOTHING: Form = {}


class System:
    """Equations between linear forms, solved as they arrive: over the rationals, or modulo two (for signs).

    Every equation gives one unknown, the youngest in it, in terms of older ones. A network states its equations in
    the order of its computation, in which the old unknowns stay few, so the whole takes nearly linear time.

    Example:
        >>> system = System()
        >>> a, b = system.unknown(), system.unknown()
        >>> system.demand({a: Fraction(1), b: Fraction(1)})
        >>> system.reduce({b: Fraction(2)})
        {0: Fraction(-2, 1)}
        >>> system.free
        [0]
    """

    def __init__(self, modulus: int | None = None) -> None:
        self.modulus = modulus
        self._solved: dict[int, Form] = {}
        self._count = 0

    def unknown(self) -> int:
        """A new unknown."""
        self._count += 1
        return self._count - 1

    @property
    def free(self) -> list[int]:
        """The unknowns that the equations so far leave free."""
        return [unknown for unknown in range(self._count) if unknown not in self._solved]

    def sum(self, *terms: tuple[Form, Fraction | int]) -> Form:
        """The sum of forms, each times a number."""
        out: dict[int, Fraction] = {}
        for form, times in terms:
            for unknown, coefficient in form.items():
                out[unknown] = out.get(unknown, Fraction(0)) + coefficient * times
        return self._proper(out)

    def reduce(self, form: Form) -> Form:
        """The same form in free unknowns alone."""
        while any(unknown in self._solved for unknown in form):
            form = self.sum(*((self._value(unknown), coefficient) for unknown, coefficient in form.items()))
        return form

    def _value(self, unknown: int) -> Form:
        """What is known of an unknown, brought up to date where it is asked for."""
        if unknown not in self._solved:
            return {unknown: Fraction(1)}
        known = self._solved[unknown]
        if any(other in self._solved for other in known):
            known = self._solved[unknown] = self.sum(*((self._value(u), c) for u, c in known.items()))
        return known

    def demand(self, form: Form) -> None:
        """Let the form be zero."""
        form = self.reduce(self._proper(form))
        if not form:
            return
        # Units of the ring first: they keep the powers integer.
        pivot = max(form, key=lambda unknown: (abs(form[unknown]) == 1, unknown))
        rest = {unknown: coefficient for unknown, coefficient in form.items() if unknown != pivot}
        self._solved[pivot] = self.sum((rest, -1 / form[pivot]))

    def _proper(self, form: Form) -> Form:
        if self.modulus is not None:
            form = {unknown: coefficient % self.modulus for unknown, coefficient in form.items()}
        return {unknown: coefficient for unknown, coefficient in form.items() if coefficient}
