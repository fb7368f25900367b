"""Which scalars each activation lets through, with the source of each statement.

An activation `f` lets a factor `d` through when `f(d x) = d f(x)` for all `x`: units may then be multiplied by `d` on
the way in and divided by it on the way out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.spec.network import NONZERO, PERMUTATION, POSITIVE, SIGN, Symmetry

__all__ = ["ACTIVATIONS", "Activation", "Sine", "activation_of"]


class Sine(nn.Module):
    """`sin(omega * x)`, the activation of SIRENs.

    Args:
        omega: the frequency, in radians per unit of input.

    Example:
        >>> Sine(2.0)(torch.tensor(0.25 * torch.pi))
        tensor(1.)

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", NeurIPS 2020, eq. 1.
    """

    def __init__(self, omega: float = 30.0) -> None:
        super().__init__()
        self.omega = float(omega)

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return torch.sin(self.omega * x)

    def extra_repr(self) -> str:
        """The frequency, for `print(module)`."""
        return f"omega={self.omega:g}"


@dataclass(frozen=True)
class Activation:
    """One row of the table.

    Args:
        name: how specs call it.
        symmetry: what may be done to units behind it.
        function: the activation itself, with the constants by keyword; the law in the tests is checked on it.
        constants: names of the constants that are read off the module.
        source: why the symmetry is what it is.
        module: the torch module class that computes it.
    """

    name: str
    symmetry: Symmetry
    function: Callable[..., Tensor]
    constants: tuple[str, ...]
    source: str
    module: type[nn.Module]


MONOMIAL = "Tran et al., NeurIPS 2024 (Monomial-NFN): positive scales for ReLU, signs for tanh and sine"
HOMOGENEOUS = "piecewise linear with its only kink at zero: positively homogeneous"
ODD = "odd and not homogeneous"
NEITHER = "neither odd nor homogeneous: no linear factor passes"


def _sine(x: Tensor, omega: float = 30.0) -> Tensor:
    return torch.sin(omega * x)


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        Activation(
            "identity",
            NONZERO,
            _identity,
            (),
            "linear: every invertible matrix passes, monomial ones among them",
            nn.Identity,
        ),
        Activation("relu", POSITIVE, F.relu, (), MONOMIAL, nn.ReLU),
        Activation("leaky_relu", POSITIVE, F.leaky_relu, ("negative_slope",), HOMOGENEOUS, nn.LeakyReLU),
        Activation("tanh", SIGN, torch.tanh, (), MONOMIAL, nn.Tanh),
        Activation("sine", SIGN, _sine, ("omega",), MONOMIAL, Sine),
        Activation("softsign", SIGN, F.softsign, (), ODD, nn.Softsign),
        Activation("relu6", PERMUTATION, F.relu6, (), "bounded above: not homogeneous", nn.ReLU6),
        Activation("sigmoid", PERMUTATION, torch.sigmoid, (), NEITHER, nn.Sigmoid),
        Activation("gelu", PERMUTATION, F.gelu, (), NEITHER, nn.GELU),
        Activation("silu", PERMUTATION, F.silu, (), NEITHER, nn.SiLU),
        Activation("softplus", PERMUTATION, F.softplus, (), NEITHER, nn.Softplus),
        Activation("elu", PERMUTATION, F.elu, (), NEITHER, nn.ELU),
    )
}


def activation_of(module: nn.Module) -> tuple[Activation, tuple[tuple[str, float], ...]] | None:
    """The table's row for a module with the constants it carries, or `None` where the table has no such row.

    A leaky ReLU of slope `-1` is the absolute value and one of slope `1` the identity, so both are left unread.

    Example:
        >>> row, constants = activation_of(Sine(30.0))
        >>> row.name, row.symmetry, constants
        ('sine', SIGN, (('omega', 30.0),))
    """
    row = next((row for row in ACTIVATIONS.values() if type(module) is row.module), None)
    if row is None:
        return None
    constants = tuple((name, float(getattr(module, name))) for name in row.constants)
    if row.name == "leaky_relu" and abs(constants[0][1]) == 1:
        return None
    return row, constants
