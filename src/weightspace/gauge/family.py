"""Which of many networks are one network written several times."""

import torch
from torch import Tensor

from weightspace.gauge.canonical import canonicalise
from weightspace.gauge.same import rounding, same
from weightspace.weights import WeightFeatures

__all__ = ["families"]

CHUNK = 256


def families(x: WeightFeatures, tolerance: float | None = None) -> list[list[int]]:
    """The networks in groups of those that are equal up to their symmetries, each group in order.

    Every network is brought to its canonical form once. Numbers that no symmetry changes are read off it, three per
    parameter: the largest magnitude, the mean magnitude and the mean square. Only networks that agree in these are
    compared, and a group grows by what `same` finds equal to its first member. Networks with numbers that are not
    finite are equal to none.

    Args:
        x: the networks.
        tolerance: as for `same`.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import act, features_of, sample_element
        >>> networks = [nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2)]
        >>> x = features_of(spec_of(networks[0]), networks)
        >>> families(WeightFeatures.cat([x, act(sample_element(x.spec, 2), x)]))
        [[0, 2], [1, 3]]
    """
    tolerance = rounding(tolerance, x)
    finite = torch.stack([tensor.isfinite().flatten(1).all(1) for tensor in x.tensors]).all(0)
    rows = finite.nonzero()[:, 0]
    marks = torch.cat([_marks(x[chunk]) for chunk in rows.split(CHUNK)]) if len(rows) else torch.zeros(0, 1, 3)
    found: list[list[int]] = [[row] for row in (~finite).nonzero()[:, 0].tolist()]
    heads: dict[int, list[int]] = {}  # by the row of marks of its first member
    for number, row in enumerate(rows.tolist()):
        near = _near(marks[list(heads)], marks[number], tolerance).nonzero()[:, 0].tolist() if heads else []
        candidates = [heads[list(heads)[position]] for position in near]
        family = next((group for group in candidates if same(x[row], x[group[0]], tolerance)), None)
        if family is None:
            heads[number] = [row]
            found.append(heads[number])
        else:
            family.append(row)
    return sorted(found)


def _marks(x: WeightFeatures) -> Tensor:
    """What all members of an orbit share, even where ties let canonical forms differ: (batch, params, 3)."""
    marks = []
    for tensor in canonicalise(x.to(torch.float64)).tensors:
        sizes = tensor.flatten(1).abs()
        largest = sizes.amax(1)
        even = sizes / torch.where(largest > 0, largest, torch.ones_like(largest))[:, None]
        marks.append(torch.stack([largest, even.mean(1) * largest, even.square().mean(1).sqrt() * largest], 1))
    return torch.stack(marks, 1)


def _near(marks: Tensor, mark: Tensor, tolerance: float) -> Tensor:
    """Which of the marks may belong to the same network: entries differ by the tolerance of the largest at most."""
    largest = torch.maximum(marks[..., :1], mark[..., :1])
    return ((marks - mark).abs() <= 2 * tolerance * largest).flatten(1).all(1)
