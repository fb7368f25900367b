"""Choosing by prediction: what is lost by taking the network that is predicted to be the best of many."""

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import DataError, ShapeError

__all__ = ["regret"]


def regret(
    output: Tensor | np.ndarray, achieved: Tensor | np.ndarray, *, among: int = 100, draws: int = 1000, seed: int = 0
) -> float:
    r"""How much worse than the best the network is that a model ranks first, on average over draws of some networks.

    From :math:`n` networks that achieve :math:`r_i` and are answered by :math:`z_i`, sets :math:`S` of ``among`` are
    drawn without repetition. The regret is the mean over the sets of

    .. math:: \max_{i \in S} r_i - \operatorname{mean} \{ r_j : j \in S, z_j = \max_{i \in S} z_i \} .

    The mean stands for a fair choice between networks that are ranked first together, so answers that are all equal
    have the regret of choosing blindly.

    Shapes:
        output: ``(n,)`` or ``(n, 1)``; achieved: ``(n,)``.

    Args:
        output: a model's answers on networks that it has not learnt from; the larger, the better.
        achieved: what the networks really achieve, in any unit: a return, an accuracy.
        among: networks that one is chosen from.
        draws: how many sets.
        seed: key of the draws, not negative: the same sets for every model.

    Returns:
        The regret in the unit of ``achieved``, 0 at best.

    Raises:
        ShapeError: answers and achievements that are not one per network.
        DataError: fewer networks than one is chosen from, values that are not finite, no draws, or a negative seed.

    Example:
        >>> achieved = torch.tensor([10.0, 500.0, 200.0])
        >>> regret(torch.tensor([0.1, 0.9, 0.2]), achieved, among=3)
        0.0
        >>> regret(torch.tensor([0.1, 0.2, 0.9]), achieved, among=3)
        300.0
    """
    answers, true = (_array(name, values) for name, values in (("output", output), ("achieved", achieved)))
    if len(answers) != len(true):
        raise ShapeError(f"output has {len(answers)} answers for {len(true)} networks; expected one per network.")
    if not 1 <= among <= len(true):
        raise DataError(
            f"among is {among}; {len(true)} networks are given. Remedy: choose among 1 to {len(true)}, or test on more."
        )
    if draws < 1 or seed < 0:
        raise DataError(f"draws is {draws} and seed {seed}; expected at least 1 draw and a seed from 0.")
    chance = np.random.default_rng(seed)
    lost = [_lost(answers, true, chance.choice(len(true), among, replace=False)) for _ in range(draws)]
    return float(np.mean(lost))


def _lost(answers: np.ndarray, true: np.ndarray, drawn: np.ndarray) -> float:
    first = answers[drawn] == answers[drawn].max()
    return float(true[drawn].max() - true[drawn][first].mean())


def _array(name: str, values: Tensor | np.ndarray) -> np.ndarray:
    """One finite number per network."""
    found = torch.as_tensor(values).detach().double().cpu().numpy()
    if found.ndim == 2 and found.shape[1] == 1 and name == "output":
        found = found[:, 0]
    if found.ndim != 1:
        raise ShapeError(f"{name} has shape {found.shape}; expected one number per network.")
    if not np.isfinite(found).all():
        wrong = int(np.flatnonzero(~np.isfinite(found))[0])
        raise DataError(f"{name} is {found[wrong]} for network {wrong}; expected finite numbers.")
    return found
