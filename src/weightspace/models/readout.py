"""What a model is asked for: a vector per network, or an edited network."""

from dataclasses import dataclass

from torch import nn

from weightspace.errors import WeightspaceError
from weightspace.layers.batch_norm import BatchNorm

__all__ = ["Edit", "Invariant", "Readout", "head"]


@dataclass(frozen=True)
class Invariant:
    """Ask for `outputs` numbers per network that no symmetry changes.

    Args:
        outputs: how many numbers.
        hidden: width of the head's two hidden layers.
        dropout: share of the head's hidden units that are dropped while training.
    """

    outputs: int
    hidden: int = 128
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.outputs < 1 or self.hidden < 1 or not 0 <= self.dropout < 1:
            raise WeightspaceError(f"{self} needs outputs and hidden of at least 1 and 0 <= dropout < 1.")


@dataclass(frozen=True)
class Edit:
    """Ask for a network of the same space: the input plus a change that transforms as it does.

    Args:
        initial: size of the change at the start of training, relative to the scale of each parameter.
    """

    initial: float = 0.01


Readout = Invariant | Edit


def head(width: int, readout: Invariant) -> nn.Sequential:
    """The multilayer perceptron that every model puts behind its invariants.

    Shapes:
        `(batch, width)` to `(batch, readout.outputs)`.
    """
    return nn.Sequential(
        BatchNorm(width),
        nn.Linear(width, readout.hidden),
        nn.ReLU(),
        nn.Dropout(readout.dropout),
        nn.Linear(readout.hidden, readout.hidden),
        nn.ReLU(),
        nn.Dropout(readout.dropout),
        nn.Linear(readout.hidden, readout.outputs),
    )
