"""A batch of networks: its checks, its rows, its ways through torch, and back to modules."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from weightspace.errors import ShapeError, UnknownNameError
from weightspace.models import Invariant, MonomialNFN
from weightspace.spec import FIXED, SIGN, Axis, Leg, NetworkSpec, ParamSpec, View, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures, features_of, flatten, unflatten

SPEC = spec_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
OTHER = spec_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))


def features(batch: int = 4, channels: int = 1, seed: int = 0) -> WeightFeatures:
    return random_features(SPEC, batch, channels, generator=torch.Generator().manual_seed(seed))


def equal(x: WeightFeatures, y: WeightFeatures) -> bool:
    return x.spec == y.spec and all(torch.equal(a, b) for a, b in zip(x.tensors, y.tensors, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:-1], "3 tensors for a spec of 4 parameters"),
        (lambda t: [t[0][:2], *t[1:]], r"'0.bias' has shape \(4, 3, 1\); expected \(2, 3, 1\)"),
        (lambda t: [t[0], t[1].expand(4, 3, 2), *t[2:]], r"'0.bias' has shape \(4, 3, 2\); expected \(4, 3, 1\)"),
        (lambda t: [t[0].mT.transpose(1, 2), *t[1:]], r"'0.weight' has shape"),
        (lambda t: {"0.weight": t[0]}, r"\['0.bias', '2.bias', '2.weight'\] are missing"),
    ],
)
def test_wrong_shapes_are_refused(change: Callable, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        WeightFeatures(SPEC, change(list(features().tensors)))


def test_they_cannot_be_changed() -> None:
    x = features()
    with pytest.raises(AttributeError, match="immutable"):
        x.spec = OTHER
    with pytest.raises(AttributeError, match="immutable"):
        x.more = 1


def test_names_and_sizes() -> None:
    x = features(4, 2)
    assert (len(x), x.channels, x.dtype, x.device.type) == (4, 2, torch.float64, "cpu")
    assert [name for name, _ in x.items()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert x["0.bias"] is x.tensors[1]
    assert repr(x).startswith("WeightFeatures(batch=4, channels=2")
    with pytest.raises(UnknownNameError, match='did you mean "0.weight"'):
        x["0.weigt"]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (1, [1]),
        (-1, [3]),
        (-4, [0]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (slice(4, None), []),
        ([2, 0], [2, 0]),
        (torch.tensor([3, 3]), [3, 3]),
        (torch.tensor([True, False, False, True]), [0, 3]),
    ],
)
def test_rows(key: object, rows: list[int]) -> None:
    x = features()
    assert all(torch.equal(a, b[rows]) for a, b in zip(x[key].tensors, x.tensors, strict=True))


def test_a_loop_over_networks_ends() -> None:
    x = features()
    assert equal(WeightFeatures.cat(list(x)), x)
    for key in (4, -5):
        with pytest.raises(IndexError, match=f"network {key} of a batch of 4"):
            x[key]


def test_cat_map_add() -> None:
    x, y = features(3, seed=1), features(2, seed=2)
    both = WeightFeatures.cat([x, y])
    assert equal(both[:3], x)
    assert equal(both[3:], y)
    assert equal(x + x, x.map(lambda t: 2 * t))
    assert x.to(torch.float32).dtype == torch.float32
    with pytest.raises(ShapeError, match="at least one batch"):
        WeightFeatures.cat([])
    with pytest.raises(ShapeError, match="different specs"):
        WeightFeatures.cat([x, WeightFeatures(OTHER, x.tensors)])
    with pytest.raises(ShapeError, match="different specs"):
        x + WeightFeatures(OTHER, x.tensors)
    with pytest.raises(ShapeError, match="given to a layer for a space of 13"):
        x.expect(OTHER)


def test_it_is_a_pytree() -> None:
    x = features()
    leaves, structure = pytree.tree_flatten({"x": x, "y": 1})
    assert len(leaves) == 5
    assert equal(pytree.tree_unflatten(leaves, structure)["x"], x)
    assert equal(pytree.tree_map(lambda t: 2 * t, x), x + x)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(again: Callable[[WeightFeatures], WeightFeatures]) -> None:
    x = features()
    y = again(x)
    assert equal(x, y)
    assert hash(y.spec) == hash(x.spec)


def test_vmap_looks_inside() -> None:
    x, more = features(4, 2), features(4, 2, seed=1)
    stacked = pytree.tree_map(lambda a, b: torch.stack([a, b]), x, more)
    doubled = torch.vmap(lambda v: v + v)(stacked)
    assert torch.equal(doubled["0.weight"][1], 2 * more["0.weight"])


def test_loaders_collate_with_cat() -> None:
    x = features()
    batches = list(DataLoader(x, batch_size=3, collate_fn=WeightFeatures.cat))
    assert [len(batch) for batch in batches] == [3, 1]
    assert equal(WeightFeatures.cat(batches), x)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no torch.distributed")
def test_data_parallel_training(tmp_path: Path) -> None:
    """One process: the wrapper finds the features and leaves every gradient as it is without it."""
    torch.manual_seed(0)
    model, x = MonomialNFN(SPEC, Invariant(2), stem=(4,), trunk=(4,)), features().to(torch.float32)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(copy.deepcopy(model))
        wrapped(x).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    model(x).square().sum().backward()
    for plain, parallel in zip(model.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(plain.grad, parallel.grad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a CUDA device")
def test_pin_memory() -> None:
    assert all(tensor.is_pinned() for tensor in features().pin_memory().tensors)


def test_flatten_and_back() -> None:
    x = features()
    rows = flatten(x)
    assert rows.shape == (4, SPEC.numel)
    assert equal(unflatten(SPEC, rows), x)
    assert unflatten(SPEC, rows)["0.weight"].data_ptr() == rows.data_ptr()
    assert torch.equal(rows[:, 6:9], x["0.bias"][..., 0])
    with pytest.raises(ShapeError, match=r"expected \(batch, 13\)"):
        unflatten(SPEC, rows[:, 1:])


def test_modules_and_back() -> None:
    torch.manual_seed(0)
    modules = [nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)) for _ in range(3)]
    x = features_of(SPEC, modules)
    points = torch.randn(5, 2)
    for module, again in zip(modules, x.to_modules(modules[0]), strict=True):
        assert torch.equal(module(points), again(points))
    assert equal(features_of(SPEC, x.to_state()), x)
    assert x.to_state()["0.weight"].shape == (3, 3, 2)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([], "no networks"),
        ([nn.Linear(2, 3)], "network 0 has no parameter"),
        (nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), "another architecture"),
        ({"0.weight": torch.zeros(1, 3, 2)}, "no parameter '0.bias'"),
        (
            [nn.Sequential(nn.Linear(2, n), nn.Tanh(), nn.Linear(n, 1)) for n in (3, 4)],
            r"of network 1 has shape .* a batch each",
        ),
        (nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).state_dict(), "that of a single network"),
        (nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).state_dict(), "another architecture"),
        ({"0.weight": torch.tensor(1.0)}, "another architecture"),
        ({"0.weight": torch.zeros(1, 3, 2, dtype=torch.int8)}, "holds torch.int8; features are real"),
    ],
)
def test_networks_of_another_architecture_are_refused(networks: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        features_of(SPEC, networks)


def test_equal_counts_do_not_make_an_equal_architecture() -> None:
    """A 2-3 and a 3-2 layer have six weights each; to read one as the other would scramble them."""
    spec, wrong = spec_of(nn.Linear(2, 3, bias=False)), nn.Linear(3, 2, bias=False)
    with pytest.raises(ShapeError, match="another architecture"):
        features_of(spec, wrong)
    with pytest.raises(ShapeError, match="architecture that the spec was read from"):
        random_features(spec, 1).to_modules(wrong)


def test_features_with_channels_are_no_networks() -> None:
    with pytest.raises(ShapeError, match="2 channels are no networks"):
        features(2, 2).to_state()
    with pytest.raises(ShapeError, match="2 channels are no networks"):
        features(2, 2).to_modules(nn.Linear(2, 3))
    with pytest.raises(ShapeError, match="nothing at '0.weight'"):
        features(2).to_modules(nn.Linear(2, 3))


def test_blocks_of_a_packed_weight() -> None:
    """Queries and values lie in one stored tensor; what no block covers is kept."""
    axes = (Axis("q", 2, SIGN), Axis("v", 3, SIGN), Axis("i", 4, FIXED))
    params = (
        ParamSpec("query", (Leg("q", (1,)), Leg("i")), "weight", View("weight", (7, 4), 0, (4, 1))),
        ParamSpec("value", (Leg("v", (1,)), Leg("i")), "weight", View("weight", (7, 4), 16, (4, 1))),
    )
    spec, packed = NetworkSpec(axes, params), nn.Linear(4, 7)
    x = features_of(spec, packed)
    assert torch.equal(x["value"][0, ..., 0], packed.weight[4:].detach())
    (moved,) = x.map(torch.neg).to_modules(packed)
    assert torch.equal(moved.weight[[0, 1, 4, 5, 6]], -packed.weight[[0, 1, 4, 5, 6]])
    assert torch.equal(moved.weight[2:4], packed.weight[2:4])
    assert torch.equal(moved.bias, packed.bias)
    with pytest.raises(ShapeError, match="covers only parts"):
        x.to_state()


def test_positions_behind_a_flattened_map() -> None:
    """One stored dimension is two legs: channels and their positions."""
    module = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    spec = spec_of(module)
    x = features_of(spec, module)
    assert x["3.weight"].shape == (1, 2, 3, 4, 1)
    (again,) = x.to_modules(module)
    assert torch.equal(again[3].weight, module[3].weight)
    assert equal(features_of(spec, x.to_state()), x)


def test_a_single_network_by_any_kind_of_integer() -> None:
    x = random_features(SPEC, 3)
    for key in (1, np.int64(1), torch.tensor(1)):
        assert torch.equal(x[key]["0.bias"], x["0.bias"][1:2])
