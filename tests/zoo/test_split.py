"""Splits: the fast hash equals the slow one, belongs to the image, and holds its fractions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightspace.errors import DataError
from weightspace.zoo import assign
from weightspace.zoo.split import SPLITS

MASK = (1 << 64) - 1


def splitmix(state: int) -> int:
    """SplitMix64 for one Python integer: the slow twin."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def slow(number: int, seed: int) -> str:
    unit = (splitmix((number & MASK) ^ splitmix((seed + 0x9E3779B97F4A7C15) & MASK)) >> 11) * 2.0**-53
    return "train" if unit < 0.8 else "val" if unit < 0.9 else "test"


@given(st.lists(st.integers(-(2**62), 2**62), max_size=20), st.integers(0, 2**62))
def test_equals_the_slow_hash(numbers: list[int], seed: int) -> None:
    assert assign(np.array(numbers, dtype=np.int64), seed=seed).tolist() == [slow(number, seed) for number in numbers]


def test_splitmix_is_the_published_one() -> None:
    # The first outputs of the generator from state 1234567, as its reference implementation prints them.
    states = [1234567 + step * 0x9E3779B97F4A7C15 for step in range(3)]
    assert [splitmix(state & MASK) for state in states] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_growth_moves_no_image() -> None:
    grown = assign(range(10_000))
    assert (assign(range(500)) == grown[:500]).all()
    order = np.random.default_rng(0).permutation(10_000)
    assert (assign(order) == grown[order]).all()


def test_a_permutation_would_move_images() -> None:
    """The mutant that the law above is there to catch."""

    def shuffled(count: int) -> np.ndarray:
        order = np.random.default_rng(0).permutation(count)
        parts = np.empty(count, dtype="<U5")
        parts[order] = np.array(SPLITS)[np.searchsorted([0.8, 0.9], np.arange(count) / count, side="right")]
        return parts

    assert (shuffled(500) != shuffled(10_000)[:500]).any()


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.98, 0.01, 0.01)])
def test_fractions_hold(fractions: tuple[float, float, float]) -> None:
    count = 100_000
    parts = assign(range(count), seed=3, fractions=fractions)
    for name, share in zip(SPLITS, fractions, strict=True):
        assert abs((parts == name).sum() - share * count) < 5 * (count * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("position", range(3))
def test_a_whole_share_leaves_nothing_elsewhere(position: int) -> None:
    fractions = [0.0, 0.0, 0.0]
    fractions[position] = 1.0
    assert set(assign(range(10_000), fractions=fractions)) == {SPLITS[position]}


def test_another_seed_is_another_split() -> None:
    agree = (assign(range(100_000), seed=0) == assign(range(100_000), seed=1)).mean()
    assert abs(agree - (0.8**2 + 2 * 0.1**2)) < 0.01


def test_no_images() -> None:
    assert assign([]).shape == (0,)


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_refuses_what_are_no_shares(fractions: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="with sum 1"):
        assign([1, 2], fractions=fractions)


def test_refuses_numbers_that_are_none() -> None:
    with pytest.raises(DataError, match="expected integers"):
        assign(np.array([0.5]))
