r"""Split conformal prediction: intervals and sets of classes that hold the truth as often as asked, whatever the model.

Of :math:`n` networks that the model has not learnt from, the *score* of each says how wrong the answer was: the
distance to the true accuracy, :math:`s_i = |\hat y_i - y_i|`, or the probability that was not given to the true class,
:math:`s_i = 1 - \hat p_i(y_i)`. With :math:`k = \lceil (n + 1) c \rceil`, the bound for coverage :math:`c` is the
:math:`k`-th smallest score, and infinite where :math:`k > n`. Of a new network, all answers are kept whose score would
be within the bound: :math:`[\hat y - q, \hat y + q]`, or :math:`\{ y : 1 - \hat p(y) \le q \}`.

If the new network and the :math:`n` are exchangeable (drawn alike, in any order), the truth is kept with probability at
least :math:`c`, and at most :math:`c + 1 / (n + 1)` where no scores are tied: the rank of the new score among all
:math:`n + 1` is uniform. This is an average over networks, not a promise for each kind of them. Networks from elsewhere
are not exchangeable, and what was chosen by the same scores, as a checkpoint is by validation, makes them a little too
good.

References:
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; Lei et al., "Distribution-Free
    Predictive Inference for Regression", JASA 2018, section 2 (intervals); Sadinle, Lei and Wasserman, "Least Ambiguous
    Set-Valued Classifiers with Bounded Error Levels", JASA 2019 (sets of classes).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.errors import DataError
from weightspace.experiments.task import ZooTask
from weightspace.tasks import Classify

__all__ = ["bound", "class_sets", "interval", "scores"]


def scores(task: ZooTask, output: Tensor, target: Tensor) -> Float[Tensor, " networks"]:
    """How wrong each answer is, in double precision: see the formulas of this module.

    Args:
        task: of the model.
        output: its answers.
        target: the truth.

    Example:
        >>> scores(Classify(2), torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor([0.5000], dtype=torch.float64)
    """
    if isinstance(task, Classify):
        return 1 - output.double().softmax(-1).gather(1, target[:, None])[:, 0]
    return (task.predict(output.double()) - target).abs()


def bound(known: Float[Tensor, " networks"], coverage: float) -> float:
    """The largest score that is kept, for a share of new networks whose truth is to be kept.

    Args:
        known: scores of networks that were not learnt from.
        coverage: the share, between 0 and 1.

    Raises:
        DataError: a share that is none.

    Example:
        >>> bound(torch.arange(9.0), 0.9), bound(torch.arange(9.0), 0.8), bound(torch.arange(9.0), 0.95)
        (8.0, 7.0, inf)
    """
    if not 0 < coverage < 1:
        raise DataError(f"coverage is {coverage}: expected a share between 0 and 1, such as 0.9.")
    # Rounding must not carry (n + 1) c over a whole number that it is equal to.
    rank = math.ceil((len(known) + 1) * coverage - 1e-9)
    return math.inf if rank > len(known) else known.sort().values[max(rank, 1) - 1].item()


def interval(
    predicted: Float[Tensor, " networks"], largest: float
) -> tuple[Float[Tensor, " networks"], Float[Tensor, " networks"]]:
    """The accuracies within a bound of the predicted ones: the lower and the upper end, both within 0 and 1.

    Example:
        >>> interval(torch.tensor([0.5, 0.9]), 0.25)
        (tensor([0.2500, 0.6500]), tensor([0.7500, 1.0000]))
    """
    return (predicted - largest).clamp(0, 1), (predicted + largest).clamp(0, 1)


def class_sets(probabilities: Float[Tensor, "networks classes"], largest: float) -> Bool[Tensor, "networks classes"]:
    """Which classes are within a bound; the likeliest always is, which can only keep the truth more often.

    Example:
        >>> class_sets(torch.tensor([[0.5, 0.375, 0.125], [0.5, 0.25, 0.25]]), 0.625)
        tensor([[ True,  True, False],
                [ True, False, False]])
    """
    first = torch.nn.functional.one_hot(probabilities.argmax(-1), probabilities.shape[-1]).bool()
    return (1 - probabilities <= largest) | first
