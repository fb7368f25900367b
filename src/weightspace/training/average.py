"""A running average of a model's parameters, which is what is evaluated and kept where there is one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    r"""The exponential moving average of the parameters that are trained.

    After step :math:`t = 1, 2, \ldots` it is :math:`a \leftarrow d_t a + (1 - d_t) p` with
    :math:`d_t = \min(d, (1 + t) / (10 + t))`, so that the weights at the start are soon forgotten.

    Args:
        model: whose parameters are averaged. Buffers are taken as they are.
        decay: :math:`d`, from 0 (no averaging) to below 1.

    References:
        Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; the rising decay is that of
        TensorFlow's ExponentialMovingAverage.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = Average(model, 0.5)
        >>> _ = model.weight.data.fill_(0.0), average.tensors["weight"].fill_(1.0)
        >>> average.update(100)
        >>> average.tensors["weight"].item()
        0.5
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.tensors = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after so many steps."""
        kept = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), list(self._parameters.values()), 1 - kept)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take these for the average."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the model's parameters are the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, p in self._parameters.items():
            p.data, self.tensors[name] = self.tensors[name], p.data
