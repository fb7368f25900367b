"""One network trained as anyone would: its own module, an optimiser of `torch.optim`, a plain loop."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from weightspace.zoo.generate.hyperparameters import Given

Loss = Callable[[Tensor, Tensor], Tensor]


def optimiser_of(module: nn.Module, given: Given) -> torch.optim.Optimizer:
    """What the hyper-parameters ask for."""
    rates = {"lr": given.learning_rate, "weight_decay": given.weight_decay}
    if given.optimiser == "sgd":
        return torch.optim.SGD(module.parameters(), momentum=given.momentum, **rates)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[given.optimiser](module.parameters(), **rates)


def train_alone(
    template: nn.Module, weights: Tensor, loss: Loss, data: tuple[Tensor, Tensor], order: Tensor, given: Given
) -> Iterator[tuple[float, Tensor]]:
    """The loss of every step, before it, and the flat weights after it."""
    module = deepcopy(template).train()
    nn.utils.vector_to_parameters(weights.clone(), module.parameters())
    optimiser = optimiser_of(module, given)
    for rows in order:
        optimiser.zero_grad()
        value = loss(module(data[0][rows]), data[1][rows])
        value.backward()
        optimiser.step()
        yield value.item(), nn.utils.parameters_to_vector(module.parameters()).detach().clone()
