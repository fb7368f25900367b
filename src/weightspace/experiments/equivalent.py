"""What becomes of a model's answers when networks are replaced by equivalent ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightspace.weights import WeightFeatures

__all__ = ["Change", "answers", "change_under"]


@dataclass(frozen=True)
class Change:
    """How a classifier's answers change from networks to equivalent networks.

    Args:
        accuracy: share of the equivalent networks that are classified correctly.
        logits: size of the difference of all logits, relative to the size of the logits.
        answers: share of networks whose most probable class is another one.
    """

    accuracy: float
    logits: float
    answers: float


def answers(model: nn.Module, x: WeightFeatures, batch: int = 256) -> Float[Tensor, "networks outputs"]:
    """The model's answers for all networks, in evaluation mode, batch by batch, where the model is.

    Shape `(networks, outputs)`, on the CPU.
    """
    model.eval()
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        return torch.cat([model(x[start : start + batch].to(device)).cpu() for start in range(0, len(x), batch)])


def change_under(
    model: nn.Module, x: WeightFeatures, moved: WeightFeatures, labels: Int[Tensor, " networks"]
) -> Change:
    """Measure how a classifier's answers change from networks to equivalent ones.

    Args:
        model: gives `(batch, classes)` logits.
        x: the networks.
        moved: for each network another with the same function.
        labels: their classes.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> from weightspace.weights import act, sample_element
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> x, g = random_features(spec, batch=8), sample_element(spec, batch=8)
        >>> biases = type("Biases", (nn.Module,), {"forward": lambda self, x: x["2.bias"][..., 0]})()
        >>> change_under(biases, x, act(g, x), torch.zeros(8, dtype=torch.long))
        Change(accuracy=1.0, logits=0.0, answers=0.0)
    """
    before, after = answers(model, x), answers(model, moved)
    changed = (before.argmax(1) != after.argmax(1)).double().mean()
    size = before.double().norm().clamp_min(torch.finfo(torch.float64).tiny)
    return Change(
        accuracy=(after.argmax(1) == labels).double().mean().item(),
        logits=((after - before).double().norm() / size).item(),
        answers=changed.item(),
    )
