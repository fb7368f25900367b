r"""How alike what models make of the same networks is: linear centred kernel alignment between their stages.

For representations :math:`X` of shape `(n, p)` and :math:`Y` of shape `(n, q)`, with columns of mean zero,

.. math:: \mathrm{CKA}(X, Y) = \frac{\lVert Y^\top X \rVert_F^2}{\lVert X^\top X \rVert_F \lVert Y^\top Y \rVert_F},

from 0, nothing in common, to 1, equal up to a rotation and one factor. The numerator is the inner product of the Gram
matrices :math:`X X^\top` and :math:`Y Y^\top`, which is cheaper where there are fewer networks than numbers.

References:
    Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network Representations Revisited", ICML 2019, section 3.
    Song, Smola, Gretton, Bedo, Borgwardt, "Feature Selection via Dependence Maximization", JMLR 2012, equation 5 (the
    unbiased estimate).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import DataError, ShapeError, unknown
from weightspace.weights import WeightFeatures

__all__ = ["Similarities", "linear_cka", "representations", "similarities"]

_LEAST_UNBIASED = 4


def linear_cka(a: Float[Tensor, "networks left"], b: Float[Tensor, "others right"], *, unbiased: bool = False) -> float:
    """Linear centred kernel alignment of two representations of the same networks, in double precision.

    Args:
        a: one row for each network.
        b: rows of the same networks, in the same order; of any width.
        unbiased: estimate it without the bias that few networks for many numbers bring: independent representations
            are then at 0 on average, and the estimate may be below.

    Symmetry:
        Unchanged by rotations of either side, by reflections, by one factor for all numbers of a side, and by shifts.

    Returns:
        The alignment; nan where one side is the same for all networks.

    Raises:
        ShapeError: representations of different numbers of networks, of no numbers, or of too few networks.

    Example:
        >>> x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
        >>> turned = 3 * x @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
        >>> round(linear_cka(x, turned), 6)
        1.0
    """
    _check(a, b, unbiased)
    return _aligned(_Side(a), _Side(b), unbiased)


def _check(a: Tensor, b: Tensor, unbiased: bool) -> None:
    least = _LEAST_UNBIASED if unbiased else 2
    if len(a) != len(b) or len(a) < least or not a.shape[1] or not b.shape[1]:
        raise ShapeError(
            f"representations of shapes {tuple(a.shape)} and {tuple(b.shape)}; expected rows of the same networks, at "
            f"least {least}, with at least one number each."
        )


def _centred(rows: Tensor) -> Tensor:
    """Without the mean, and of about unit size: the factor cancels, and fourth powers neither over- nor underflow."""
    rows = rows.detach().cpu().double()
    centred = rows - rows.mean(0)
    size = centred.abs().max()
    # What rounding leaves of rows that are all alike is no difference between networks.
    alike = size <= 4 * torch.finfo(torch.float64).eps * rows.abs().max()
    return torch.zeros_like(centred) if alike else centred / size


class _Side:
    """One representation, its Gram matrix computed once."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = _centred(rows)
        self.known = False

    @cached_property
    def gram(self) -> Tensor:
        self.known = True
        return self.rows @ self.rows.T

    @cached_property
    def own(self) -> Tensor:
        return _shared(self, self)

    @cached_property
    def own_unbiased(self) -> Tensor:
        return _unbiased(self.gram, self.gram)


def _aligned(a: _Side, b: _Side, unbiased: bool) -> float:
    if unbiased:
        return _ratio(_unbiased(a.gram, b.gram), a.own_unbiased, b.own_unbiased)
    return _ratio(_shared(a, b), a.own, b.own)


def _shared(a: _Side, b: _Side) -> Tensor:
    """The numerator, in the form that takes fewer products of numbers."""
    networks, left, right = len(a.rows), a.rows.shape[1], b.rows.shape[1]
    grams = networks * sum(side.rows.shape[1] for side in {a, b} if not side.known)
    form = _by_features if left * right < grams + networks else _by_grams
    return form(a, b)


def _by_features(a: _Side, b: _Side) -> Tensor:
    return (a.rows.T @ b.rows).square().sum()


def _by_grams(a: _Side, b: _Side) -> Tensor:
    return (a.gram * b.gram).sum()


def _unbiased(k: Tensor, m: Tensor) -> Tensor:
    r"""The unbiased estimate of the Hilbert-Schmidt independence criterion, from Gram matrices.

    With zeros on both diagonals, :math:`\frac{1}{n (n - 3)} \left( \mathrm{tr}(K L) + \frac{1^\top K 1 \, 1^\top L 1}
    {(n - 1)(n - 2)} - \frac{2}{n - 2} 1^\top K L 1 \right)`.
    """
    n = len(k)
    k, m = (gram - gram.diagonal().diag() for gram in (k, m))
    both = k.sum() * m.sum() / ((n - 1) * (n - 2))
    return ((k * m).sum() + both - 2 / (n - 2) * (k.sum(0) @ m.sum(0))) / (n * (n - 3))


def _ratio(both: Tensor, left: Tensor, right: Tensor) -> float:
    scale = (left * right).clamp_min(0).sqrt()
    return float(both / scale) if scale > 0 else float("nan")


def representations(
    model: nn.Module, x: WeightFeatures, *, batch: int = 256, stages: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """What each stage of a model makes of networks: the output of every child module.

    Args:
        model: anything that is called with networks. It is asked in evaluation mode and left as it was.
        x: the networks.
        batch: how many the model is given at a time.
        stages: names of the modules in question, at any depth (`"head.1"`). Default: the children; of a `ModuleList`,
            which is never called, what it holds.

    Returns:
        By the name of the module, in the order in which they were called, one row for each network: its output,
        flattened, the tensors of lists, weight features and records side by side. A module that is called several times
        has all calls in one row. Those that are never called, or give nothing with a row for each network, are left
        out. Last comes the model's own `"answer"`, unless a module gave it.

    Shapes:
        each: `(networks, numbers)`.

    Raises:
        DataError: no networks, or a batch below 1.
        UnknownNameError: a stage that the model does not have.

    Example:
        >>> from weightspace.models import Invariant, MonomialNFN
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> model = MonomialNFN(spec, Invariant(10), stem=(4,), trunk=(4,))
        >>> found = representations(model, random_features(spec, 7).to(torch.float32))
        >>> [(name, rows.shape[1]) for name, rows in found.items()]
        [('norm', 17), ('stem', 68), ('trunk', 68), ('pool', 20), ('head', 10)]
    """
    if not len(x) or batch < 1:
        raise DataError(f"{len(x)} networks in batches of {batch}; expected at least one network, and 1 in a batch.")
    watched = dict(_stages(model)) if stages is None else {name: _stage(model, name) for name in stages}
    parts: list[dict[str, list[Tensor]]] = []
    with _asked(model), torch.no_grad():
        for at in range(0, len(x), batch):
            given = x[at : at + batch]
            with _watched(watched, len(given)) as seen:
                answer = model(given)
            parts.append({**seen, "answer": _rows(answer, len(given))})
    # A stage whose output fits a batch of one size by chance has no row for each network.
    names = [name for name in parts[0] if all(part.get(name) for part in parts)]
    found = {name: torch.cat([torch.cat(part[name], 1) for part in parts]) for name in names}
    answer = found.pop("answer", None)
    if answer is not None and not any(torch.equal(answer, rows) for rows in found.values()):
        found["answer"] = answer
    return found


@contextmanager
def _asked(model: nn.Module) -> Iterator[None]:
    """In evaluation mode meanwhile."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, before in training.items():
            module.training = before


@contextmanager
def _watched(stages: Mapping[str, nn.Module], count: int) -> Iterator[dict[str, list[Tensor]]]:
    """What the stages give meanwhile, in the order of the calls."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, _module: nn.Module, _given: Any, output: Any) -> None:
        seen.setdefault(name, []).extend(_rows(output, count))

    handles = [child.register_forward_hook(partial(keep, name)) for name, child in stages.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _stages(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children; of mere lists and tables, which are never called, what they hold."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{name}.{key}", inner) for key, inner in _stages(child))
        else:
            yield name, child


def _stage(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules or not name:
        raise unknown("stage", name, [known for known in modules if known])
    return modules[name]


def _rows(output: Any, count: int) -> list[Tensor]:
    """The tensors of an output that have a row for each network, flattened."""
    if isinstance(output, Tensor):
        whole = output.ndim > 0 and len(output) == count and output.is_floating_point() and output.numel() > 0
        return [output.detach().flatten(1) if output.ndim > 1 else output.detach()[:, None]] if whole else []
    if isinstance(output, WeightFeatures):
        output = output.tensors
    if isinstance(output, Mapping):
        output = list(output.values())
    if is_dataclass(output):
        output = [getattr(output, field.name) for field in fields(output)]
    return [rows for part in output for rows in _rows(part, count)] if isinstance(output, list | tuple) else []


@dataclass(frozen=True, eq=False)
class Similarities:
    """How alike all stages of several models are.

    Shapes:
        matrix: `(stages, stages)`, symmetric, 1 on the diagonal, nan for a stage that is the same for all networks.

    Args:
        stages: model and stage of each row and column.
        matrix: the alignments.
    """

    stages: tuple[tuple[str, str], ...]
    matrix: np.ndarray

    def between(self, one: str, other: str) -> np.ndarray:
        """The part with the stages of one model along the rows and those of another along the columns."""
        rows, columns = ([i for i, (model, _) in enumerate(self.stages) if model == name] for name in (one, other))
        return self.matrix[np.ix_(rows, columns)]

    def over_seeds(self, groups: Mapping[str, str]) -> "Similarities":
        """The mean over pairs of different models of two groups, such as one architecture trained from several seeds.

        Args:
            groups: by the name of a model, the name of its group; models that are not named are left out. A pair of a
                model with itself counts where its group has no other.

        Raises:
            UnknownNameError: a name that is no model's.
        """
        models = dict.fromkeys(model for model, _ in self.stages)
        for name in groups:
            if name not in models:
                raise unknown("model", name, models)
        stages = tuple(dict.fromkeys((groups[model], stage) for model, stage in self.stages if model in groups))
        own = [[i for i, (m, s) in enumerate(self.stages) if (groups.get(m), s) == stage] for stage in stages]
        matrix = np.array([[self._mean(left, right) for right in own] for left in own])
        return Similarities(stages, matrix)

    def _mean(self, left: list[int], right: list[int]) -> float:
        pairs = [(i, j) for i in left for j in right]
        different = [(i, j) for i, j in pairs if self.stages[i][0] != self.stages[j][0]]
        return float(np.mean([self.matrix[i, j] for i, j in different or pairs]))


def similarities(
    models: Mapping[str, nn.Module],
    features: WeightFeatures | Mapping[str, WeightFeatures],
    *,
    unbiased: bool = False,
    batch: int = 256,
) -> Similarities:
    """The alignment of every stage of every model with every other, on the same networks.

    Args:
        models: by name, such as one architecture from several seeds, or several architectures.
        features: the networks; by the name of the model, where models read them in different forms, row by row the
            same networks.
        unbiased: see `linear_cka`.
        batch: see `representations`.

    Raises:
        DataError: no models, no networks, or none for a model.
        ShapeError: models that are given different numbers of networks, or too few.

    Example:
        >>> from weightspace.models import Invariant, StatNN
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> models = {name: StatNN(spec, Invariant(3)) for name in ("first", "second")}
        >>> found = similarities(models, random_features(spec, 20).to(torch.float32))
        >>> found.stages[:3], found.matrix.shape
        ((('first', 'norm'), ('first', 'head'), ('second', 'norm')), (4, 4))
    """
    if not models:
        raise DataError("no models; expected at least one.")
    sides: list[_Side] = []
    stages: list[tuple[str, str]] = []
    for name, model in models.items():
        if isinstance(features, Mapping) and name not in features:
            raise DataError(f"no networks for the model {name!r}; they are given for {', '.join(features) or 'none'}.")
        given = features[name] if isinstance(features, Mapping) else features
        for stage, rows in representations(model, given, batch=batch).items():
            stages.append((name, stage))
            if sides:
                _check(sides[0].rows, rows, unbiased)
            sides.append(_Side(rows))
    matrix = np.ones((len(sides), len(sides)))
    for i, left in enumerate(sides):
        for j, right in enumerate(sides[: i + 1]):
            matrix[i, j] = matrix[j, i] = _aligned(left, right, unbiased)
    return Similarities(tuple(stages), matrix)
