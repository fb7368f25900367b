"""How a classifier's answers change under the group: nothing where it is invariant, counted where it is not."""

import pytest
import torch
from tests.laws.registry import SPECS
from torch import Tensor, nn

from weightspace.experiments.equivalent import answers, change_under
from weightspace.models import FlatMLP, Invariant, MonomialNFN
from weightspace.testing import random_features
from weightspace.weights import Element, WeightFeatures, act, identity, sample_element

SPEC = SPECS["siren"]


class Signs(nn.Module):
    """The class is the sign of the first hidden bias, which every sign flip turns over."""

    def forward(self, x: WeightFeatures) -> Tensor:
        bias = x["0.bias"][:, 0, 0]
        return torch.stack([bias, -bias], dim=1)


def networks(batch: int = 40) -> WeightFeatures:
    return random_features(SPEC, batch, generator=torch.Generator().manual_seed(0)).to(torch.float32)


def elements(batch: int = 40, *, permute: bool = True) -> Element:
    return sample_element(SPEC, batch, generator=torch.Generator().manual_seed(1), permute=permute)


def test_an_invariant_model_keeps_its_answers() -> None:
    torch.manual_seed(0)
    model, x = MonomialNFN(SPEC, Invariant(10), stem=(4,), trunk=(4,)), networks()
    change = change_under(model, x, act(elements(), x), answers(model, x).argmax(1))
    assert change.logits < 1e-4
    assert (change.answers, change.accuracy) == (0.0, 1.0)


def test_a_flat_model_does_not() -> None:
    torch.manual_seed(0)
    model, x = FlatMLP(SPEC, Invariant(10)), networks()
    change = change_under(model, x, act(elements(), x), answers(model, x).argmax(1))
    assert change.logits > 0.1
    assert change.answers == pytest.approx(1 - change.accuracy)
    assert change.answers > 0


def test_changes_are_counted() -> None:
    model, x, g = Signs(), networks(), elements(permute=False)
    flipped = (g.parts["0"].scale[:, 0, 0] < 0).double().mean().item()
    labels = answers(model, x).argmax(1)
    change = change_under(model, x, act(g, x), labels)
    assert change.answers == pytest.approx(flipped)
    assert change.accuracy == pytest.approx(1 - flipped)
    assert change_under(model, x, act(identity(SPEC), x), labels).logits == 0


def test_batches_do_not_matter_and_zero_logits_are_no_change() -> None:
    torch.manual_seed(0)
    model, x = FlatMLP(SPEC, Invariant(10)), networks(7)
    torch.testing.assert_close(answers(model, x, batch=3), answers(model, x))
    for parameter in model.body[-1][-1].parameters():
        nn.init.zeros_(parameter)
    assert change_under(model, x, act(elements(7), x), torch.zeros(7, dtype=torch.long)).logits == 0
