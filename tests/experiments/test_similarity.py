"""Centred kernel alignment: its invariances, its two forms, its estimate without bias; and the stages of all models."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from tests.laws.registry import SPECS
from tests.laws.test_model import ANSWER, EDITORS, MODELS, made, networks
from torch import Tensor, nn

from weightspace.errors import DataError, ShapeError, UnknownNameError
from weightspace.experiments import similarity
from weightspace.experiments.similarity import linear_cka, representations, similarities
from weightspace.models import NP, Edit, StatNN


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_cka(a: Tensor, b: Tensor) -> float:
    """Sums of squared covariances, one pair of columns at a time."""

    def shared(x: Tensor, y: Tensor) -> float:
        total = 0.0
        for i in range(x.shape[1]):
            for j in range(y.shape[1]):
                covariance = sum(
                    float(u * v) for u, v in zip(x[:, i] - x[:, i].mean(), y[:, j] - y[:, j].mean(), strict=True)
                )
                total += covariance**2
        return total

    return shared(a, b) / (shared(a, a) * shared(b, b)) ** 0.5


@pytest.mark.parametrize("widths", [(3, 2), (2, 9), (9, 12), (1, 1), (1, 30)])
@pytest.mark.parametrize("form", ["_by_features", "_by_grams", None])
def test_both_forms_are_the_definition(
    monkeypatch: pytest.MonkeyPatch, widths: tuple[int, int], form: str | None
) -> None:
    if form:  # whichever is asked for
        chosen = getattr(similarity, form)
        monkeypatch.setattr(similarity, "_by_features", chosen)
        monkeypatch.setattr(similarity, "_by_grams", chosen)
    a, noise = normal(6, widths[0]), normal(6, widths[1], seed=1)
    b = noise + a[:, :1]
    assert linear_cka(a, b) == pytest.approx(plain_cka(a, b), rel=1e-10)


def test_the_cheaper_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for form in ("_by_features", "_by_grams"):
        real = getattr(similarity, form)
        monkeypatch.setattr(similarity, form, lambda a, b, real=real, form=form: taken.append(form) or real(a, b))
    linear_cka(normal(100, 3), normal(100, 4, seed=1))
    assert set(taken) == {"_by_features"}
    taken.clear()
    linear_cka(normal(5, 300), normal(5, 400, seed=1))
    assert set(taken) == {"_by_grams"}


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=7))[0]


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("width", [4, 60])
def test_rotations_factors_and_shifts_change_nothing(width: int, unbiased: bool) -> None:
    a = normal(20, width)
    b = normal(20, 5, seed=1) + a[:, :1]
    moved = -1e3 * a @ rotation(width) + 17
    assert linear_cka(a, moved, unbiased=unbiased) == pytest.approx(1, abs=1e-9)
    before = linear_cka(a, b, unbiased=unbiased)
    assert linear_cka(moved, b, unbiased=unbiased) == pytest.approx(before, abs=1e-9)
    assert linear_cka(b, a, unbiased=unbiased) == pytest.approx(before, abs=1e-12)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    assert linear_cka(a[order], b[order], unbiased=unbiased) == pytest.approx(before, abs=1e-12)
    # Mutants: another linear map than a rotation, a non-linear one, and rows of other networks.
    uneven = a * torch.linspace(0.1, 3, width, dtype=a.dtype)
    for other in (uneven, a**3, a.roll(1, 0)):
        assert linear_cka(a, other, unbiased=unbiased) < 1 - 1e-3


def test_without_centring_a_shift_would_count(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(20, 4), normal(20, 5, seed=1)
    assert linear_cka(a, b + 5) == pytest.approx(linear_cka(a, b), abs=1e-12)
    monkeypatch.setattr(similarity, "_centred", lambda rows: rows)
    assert abs(linear_cka(a, b + 5) - linear_cka(a, b)) > 0.01


def test_independent_representations_have_nothing_in_common() -> None:
    assert linear_cka(normal(5000, 4), normal(5000, 4, seed=1)) < 0.01
    # With as few networks as numbers the bias is large, and the estimate without it is around zero.
    pairs = [(normal(20, 60, seed=s), normal(20, 60, seed=100 + s)) for s in range(40)]
    biased, unbiased = (np.mean([linear_cka(*pair, unbiased=flag) for pair in pairs]) for flag in (False, True))
    assert biased > 0.5
    assert abs(unbiased) < 0.03


def test_the_estimate_without_bias_is_the_mean_over_distinct_networks() -> None:
    """Song et al.: tr(K L), sums over all quadruples of different networks."""
    a, b = normal(6, 3), normal(6, 2, seed=1)
    k, m = a @ a.T, b @ b.T
    quadruples = list(permutations(range(6), 4))
    total = sum(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in quadruples)
    assert similarity._unbiased(k, m) == pytest.approx(float(total) / len(quadruples), rel=1e-10)


def test_sizes_far_from_one_and_representations_that_are_all_alike() -> None:
    a = normal(20, 5)
    for factor in (1e-120, 1e120):
        assert linear_cka(a, factor * a) == pytest.approx(1)
    same = torch.full((20, 3), 0.1, dtype=torch.float64)
    assert np.isnan(linear_cka(a, same))
    assert np.isnan(linear_cka(a, same, unbiased=True))
    assert linear_cka(a.float(), a.float()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("left", "right", "unbiased"),
    [((5, 2), (6, 2), False), ((1, 2), (1, 2), False), ((3, 2), (3, 2), True), ((5, 0), (5, 2), False)],
)
def test_what_cannot_be_compared(left: tuple[int, int], right: tuple[int, int], unbiased: bool) -> None:
    with pytest.raises(ShapeError, match="expected rows of the same networks"):
        linear_cka(torch.zeros(left), torch.zeros(right), unbiased=unbiased)


@pytest.mark.parametrize("model", MODELS)
def test_stages_of_every_model(model: str) -> None:
    spec = SPECS["siren"]
    network, x = made(model, spec).train(), networks(spec, 9)
    found = representations(network, x, batch=4)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert list(found)[-1] in ("head", "body", "inner")
    assert len(found) > 1 or model in ("FlatMLP", "FunctionProbe", "Phased, ScaleGMN")
    network.eval()
    # Without gradients torch takes another way through attention, which rounds differently.
    assert torch.allclose(found[list(found)[-1]], torch.cat([network(x[at : at + 4]) for at in (0, 4, 8)]))
    whole = representations(network, x)
    assert all(torch.allclose(whole[name], rows) for name, rows in found.items())
    alike = similarities({"one": network, "same": network}, x)
    count = len(found)
    assert [stage for _, stage in alike.stages] == 2 * list(found)
    assert np.allclose(alike.between("one", "same"), alike.between("one", "one"), atol=1e-9)
    diagonal = np.diag(alike.matrix)
    assert np.allclose(diagonal[~np.isnan(diagonal)], 1)
    assert alike.matrix.shape == (2 * count, 2 * count)


def test_edits_and_stages_at_any_depth() -> None:
    spec = SPECS["siren"]
    assert ("NP", "siren") in EDITORS
    editor, x = made("NP", spec, Edit()), networks(spec, 5)
    found = representations(editor, x)
    assert torch.equal(found["answer"], torch.cat([tensor.flatten(1) for tensor in editor(x).tensors], 1))
    chosen = representations(made("StatNN", spec), x, stages=["head.4", "head.1"])
    assert [(name, tuple(rows.shape)) for name, rows in chosen.items()] == [
        ("head.1", (5, 8)), ("head.4", (5, 8)), ("answer", (5, 3)),
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="stage 'haed.1'"):
        representations(made("StatNN", spec), x, stages=["haed.1"])


def test_what_has_no_row_for_each_network_is_left_out() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.count, self.twice, self.never = (nn.Identity() for _ in range(4))

        def forward(self, x: object) -> dict[str, Tensor]:
            rows = x.tensors[0].flatten(1)  # type: ignore[attr-defined]
            self.table(torch.zeros(3, 2))
            self.count(torch.arange(len(rows)))
            self.twice(rows)
            self.twice([rows, {"more": rows[:, 0]}])
            return {"out": rows, "of": torch.tensor(1.0)}

    x = networks(SPECS["siren"], 7)
    found = representations(Mixed(), x, batch=3)  # three rows: as many as the table has
    assert {name: tuple(rows.shape) for name, rows in found.items()} == {"twice": (7, 13), "answer": (7, 6)}


def test_over_seeds() -> None:
    spec, x = SPECS["siren"], networks(SPECS["siren"], 12)
    models = {f"{kind.__name__}-{seed}": seeded(kind, seed) for kind in (NP, StatNN) for seed in (0, 1, 2)}
    found = similarities(models, x.to(torch.float32))
    groups = {name: name.split("-")[0] for name in models}
    mean = found.over_seeds(groups)
    assert {model for model, _ in mean.stages} == {"NP", "StatNN"}
    row, column = mean.stages.index(("NP", "pool")), mean.stages.index(("StatNN", "head"))
    place = {stage: i for i, stage in enumerate(found.stages)}
    one = [found.matrix[place[f"NP-{i}", "pool"], place[f"StatNN-{j}", "head"]] for i in range(3) for j in range(3)]
    assert mean.matrix[row, column] == pytest.approx(np.mean(one))
    own = [found.matrix[place[f"NP-{i}", "pool"], place[f"NP-{j}", "pool"]] for i, j in permutations(range(3), 2)]
    assert mean.matrix[row, row] == pytest.approx(np.mean(own))
    assert mean.matrix[row, row] < 1
    alone = found.over_seeds({"NP-0": "NP"})
    assert np.allclose(np.diag(alone.matrix), 1)
    with pytest.raises(UnknownNameError, match="model 'NP-7'"):
        found.over_seeds({"NP-7": "NP"})
    assert spec == x.spec


def seeded(kind: type, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return kind(SPECS["siren"], ANSWER)


def test_networks_in_several_forms_and_what_is_missing() -> None:
    models = {name: made("StatNN", SPECS[name]) for name in ("siren", "relu")}
    found = similarities(models, {name: networks(SPECS[name], 6) for name in models}, unbiased=True)
    assert found.between("siren", "relu").shape == (2, 2)
    with pytest.raises(DataError, match="no networks for the model 'relu'"):
        similarities(models, {"siren": networks(SPECS["siren"])})
    with pytest.raises(ShapeError, match="expected rows of the same networks"):
        similarities(models, {"siren": networks(SPECS["siren"], 6), "relu": networks(SPECS["relu"], 5)})
    with pytest.raises(DataError, match="no models"):
        similarities({}, networks(SPECS["siren"]))
    with pytest.raises(DataError, match="at least one network"):
        representations(models["siren"], networks(SPECS["siren"])[:0])
