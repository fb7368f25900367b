"""Batch normalisation whose batch is the whole batch, on however many processes it lies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

__all__ = ["BatchNorm", "alone"]


class BatchNorm(nn.BatchNorm1d):
    r"""`torch.nn.BatchNorm1d` on vectors; in training on several processes, mean and variance are those of all shares.

    With the shares :math:`x^{(r)}` of :math:`n_r` rows, :math:`\mu = \sum_r \sum_i x^{(r)}_i / \sum_r n_r`, and the
    variance and the gradients accordingly; `torch.nn.SyncBatchNorm` does so on GPUs alone.

    Shapes:
        `(batch, channels)` to the same.

    References:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1.

    Example:
        >>> BatchNorm(2)(torch.tensor([[1.0, 5.0], [3.0, 9.0]])).round(decimals=2).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
    """

    alone = False
    """Whether the other processes are left out even where there are some."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise."""
        together = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if self.alone or not self.training or not together:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = _Added.apply(x.new_full((1,), len(x)))
        mean = _Added.apply(x.sum(0)) / count
        variance = _Added.apply((x - mean).square().sum(0)) / count
        self._remember(mean.detach(), (variance * count / (count - 1).clamp_min(1)).detach())
        return ((x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics, as the parent keeps them."""
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        for kept, new in ((self.running_mean, mean), (self.running_var, variance)):
            assert kept is not None
            kept.lerp_(new.to(kept), self.momentum)


class _Added(torch.autograd.Function):
    """The sum over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _added(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _added(gradients[0])


def _added(x: Tensor) -> Tensor:
    total = x.contiguous().clone()
    distributed.all_reduce(total)
    return total


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Within it a model's batch normalisations ask no other process, which may be doing something else."""
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.alone = True
    try:
        yield
    finally:
        for norm in norms:
            norm.alone = False
