"""Policies: episodes and updates against plain loops, draws that no chunk changes, and zoos of them."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles import control as oracle

from weightspace.errors import DataError, FormatError, ShapeError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.tasks import PredictAccuracy
from weightspace.weights import WeightFeatures, act, flatten, sample_element
from weightspace.zoo import open_zoo
from weightspace.zoo.generate import episode, modules, template
from weightspace.zoo.generate.control import ENVIRONMENTS, environment_named
from weightspace.zoo.generate.episode import Crowd, simulate
from weightspace.zoo.generate.policy import (
    PolicySettings,
    _fold,
    _Search,
    _stream,
    copies,
    evaluate_policies,
    hyper,
    initial_weights,
    policy,
    policy_spec,
    shapes_of,
    state_of,
    train_policies,
)
from weightspace.zoo.generate.policy_zoo import make_policy_zoo
from weightspace.zoo.generate.template import settings_of

NAMES = sorted(ENVIRONMENTS)
SMALL = PolicySettings(
    hidden=(5, 4), iterations=4, directions=3, checkpoints=(0.0, 0.5, 1.0), spoilt=(0.5,), episodes=4, chunk=3
)
Layers = list[tuple[np.ndarray, np.ndarray]]


def drawn(settings: PolicySettings, count: int) -> torch.Tensor:
    """Weights in double precision, so that no rounding decides between two actions."""
    size = sum(math.prod(shape) for shape in shapes_of(settings).values())
    return torch.randn(count, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def layers(flat: torch.Tensor, settings: PolicySettings) -> Layers:
    parts = [value[0].numpy() for value in state_of(flat[None], settings).values()]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_episodes_equal_those_played_one_by_one(name: str, activation: str) -> None:
    """Returns, lengths, and who never changes its action, of policies that end at different times."""
    settings = replace(SMALL, environment=name, activation=activation)
    environment, flat = environment_named(name), drawn(settings, 5)
    flat[4, :] = 0
    starts = torch.stack([environment.start(np.random.default_rng(number), 2) for number in range(5)], 1)
    outcome = simulate(environment, Crowd(flat, shapes_of(settings), activation), starts)
    for row in range(5):
        alone = [
            oracle.episode(name, layers(flat[row], settings), activation, start.tolist()) for start in starts[:, row].T
        ]
        assert outcome.returns[row].tolist() == pytest.approx([one[0] for one in alone], rel=1e-9, abs=1e-9)
        assert outcome.lengths[row].tolist() == [one[1] for one in alone]
        assert outcome.varied[row].item() == (len({action for one in alone for action in one[2]}) > 1)
    assert not outcome.varied[4]


def test_what_is_counted_after_an_end_is_caught() -> None:
    """A mutant: games that never notice an end."""
    environment, settings = environment_named("cartpole"), SMALL
    flat, starts = drawn(settings, 3), environment.start(np.random.default_rng(0), 3)[..., None]
    right = simulate(environment, Crowd(flat, shapes_of(settings), "tanh"), starts)
    endless = replace(environment, move=lambda state, action: (*environment.move(state, action)[:2], state[0] > 1e300))
    wrong = simulate(endless, Crowd(flat, shapes_of(settings), "tanh"), starts)
    assert (wrong.returns > right.returns).any()


def test_moments_are_those_of_what_was_seen() -> None:
    """With and without putting policies aside."""
    environment, settings = environment_named("cartpole"), SMALL
    flat = drawn(settings, 6)
    starts = torch.stack([environment.start(np.random.default_rng(number), 2) for number in range(6)], 1)
    outcome = simulate(environment, Crowd(flat, shapes_of(settings), "tanh"), starts)
    assert len(set(outcome.lengths.flatten().tolist())) > 2
    for row in range(6):
        seen = []
        for start in starts[:, row].T:
            state = start.tolist()
            _, _, actions = oracle.episode("cartpole", layers(flat[row], settings), "tanh", state)
            for action in actions:
                seen.append(state)
                state = oracle.cartpole(state, action)[0]
        assert outcome.sums[row].tolist() == pytest.approx(np.sum(seen, 0).tolist())
        assert outcome.squares[row].tolist() == pytest.approx(np.square(seen).sum(0).tolist())


def test_putting_policies_aside_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    environment, settings = environment_named("acrobot"), replace(SMALL, environment="acrobot")
    flat = drawn(settings, 8)
    starts = torch.stack([environment.start(np.random.default_rng(number), 1) for number in range(8)], 1)
    crowd = Crowd(flat, shapes_of(settings), "tanh")
    often = simulate(environment, crowd, starts)
    monkeypatch.setattr(episode, "_LOOK", 10**6)
    never = simulate(environment, crowd, starts)
    for name in ("returns", "lengths", "varied", "sums", "squares"):
        torch.testing.assert_close(getattr(often, name), getattr(never, name), rtol=1e-9, atol=1e-9)


LEARNING = replace(SMALL, normalised=1.0, rollouts=2, step_size=(0.5, 0.5))


def played(settings: PolicySettings, folded: Layers, start: list[float]) -> tuple[float, list[list[float]]]:
    """The return of one episode and what was seen in it."""
    total, _, actions = oracle.episode("cartpole", folded, settings.activation, start)
    seen, state = [], start
    for action in actions:
        seen.append(state)
        state = oracle.cartpole(state, action)[0]
    return total, seen


def folded_by_hand(theta: torch.Tensor, settings: PolicySettings, seen: list[list[float]]) -> Layers:
    mean, deviation = (np.mean(seen, 0), np.std(seen, 0)) if seen else (np.zeros(4), np.ones(4))
    (weight, bias), *others = layers(theta, settings)
    return [(weight / deviation, bias - weight @ (mean / deviation)), *others]


def plain(settings: PolicySettings, number: int, updates: int) -> tuple[torch.Tensor, Layers]:
    """One run, every direction by itself: weights as it learns them, and as they are kept."""
    theta, environment = initial_weights(settings, number).double(), environment_named("cartpole")
    noise, chance = _stream(settings, number, "directions"), _stream(settings, number, "starts")
    drawn_by, seen = hyper(settings, number), []
    for _ in range(updates):
        changes = torch.from_numpy(noise.standard_normal((settings.directions, len(theta)), np.float32)).double()
        starts = environment.start(chance, settings.directions * settings.rollouts)
        returns, now = np.zeros((2, settings.directions)), []
        for sign, direction, rollout in np.ndindex(2, settings.directions, settings.rollouts):
            tried = theta + (1 - 2 * sign) * drawn_by.noise * changes[direction]
            start = starts[:, settings.rollouts * direction + rollout].tolist()
            total, sight = played(settings, folded_by_hand(tried, settings, seen), start)
            returns[sign, direction] += total / settings.rollouts
            now += sight
        step = sum((returns[0, k] - returns[1, k]) * change for k, change in enumerate(changes))
        theta = theta + drawn_by.step_size / settings.directions / returns.std() * step
        seen += now
    return theta, folded_by_hand(theta, settings, seen)


def searched(updates: int, fault: str = "") -> float:
    """The largest difference from plain loops, relative to the largest weight of each."""
    search = _Search(LEARNING, [2, 5])
    if fault == "downhill":
        search.step_size = -search.step_size
    if fault == "as it is":
        search.normalised = torch.zeros(2, dtype=torch.bool)
    if fault == "other starts":
        search.starts.reverse()
    for _ in range(updates):
        search.update()
    worst = 0.0
    for row, number in enumerate((2, 5)):
        theta, kept = plain(LEARNING, number, updates)
        flat = torch.cat([torch.from_numpy(part).flatten() for pair in kept for part in pair])
        for found, right in ((search.weights[row], theta), (search.kept[row], flat)):
            worst = max(worst, ((found - right).abs().max() / right.abs().max()).item())
    return worst


def test_updates_equal_plain_loops() -> None:
    """The second one reads normalised observations."""
    assert searched(2) < 1e-4


@pytest.mark.parametrize("fault", ["downhill", "as it is", "other starts"])
def test_a_wrong_update_is_caught(fault: str) -> None:
    assert searched(2, fault) > 1e-2


def test_folding_is_reading_normalised_observations() -> None:
    settings = SMALL
    flat, seen = drawn(settings, 3), torch.randn(3, 7, 4, dtype=torch.float64)
    mean, deviation = torch.randn(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64) + 0.1
    shapes = shapes_of(settings)
    folded = Crowd(_fold(flat, mean, deviation, shapes), shapes, "tanh")(seen)
    told = Crowd(flat, shapes, "tanh")((seen - mean[:, None]) / deviation[:, None])
    torch.testing.assert_close(folded, told)


def test_policies_learn() -> None:
    """A run's last policies stay up longer than its first ones, on average over a few runs."""
    settings = PolicySettings(hidden=(8,), iterations=12, step_size=(0.1, 0.1), checkpoints=(0.0, 1.0), episodes=8)
    learnt = train_policies(torch.arange(8), settings)
    first, last = (evaluate_policies(learnt.weights[:, at], torch.arange(8), settings)[0] for at in (0, 1))
    assert last.mean() > 2 * first.mean()


def test_draws_do_not_depend_on_chunks_or_on_other_runs() -> None:
    whole = train_policies(torch.arange(5), SMALL)
    for chunk, numbers in ((1, [0, 1, 2, 3, 4]), (5, [4, 1])):
        found = train_policies(torch.tensor(numbers), replace(SMALL, chunk=chunk))
        assert torch.equal(found.weights[:, 0], whole.weights[numbers, 0])
        torch.testing.assert_close(found.weights, whole.weights[numbers], rtol=1e-3, atol=1e-4)
    other = train_policies(torch.arange(5), replace(SMALL, seed=1))
    assert (other.weights[:, 0] != whole.weights[:, 0]).any(1).all()


def test_more_episodes_begin_with_the_same_ones() -> None:
    flat = drawn(SMALL, 3).float()
    few, many = (
        evaluate_policies(flat, torch.tensor([7, 8, 9]), replace(SMALL, episodes=episodes))[0] for episodes in (3, 9)
    )
    assert torch.equal(many[:, :3], few)
    alone = evaluate_policies(flat[1:2], torch.tensor([8]), replace(SMALL, episodes=3))[0]
    assert torch.equal(alone[0], few[1])
    same, other = (evaluate_policies(flat[:1].expand(2, -1), torch.tensor(n), SMALL)[0] for n in ([4, 4], [4, 5]))
    assert torch.equal(same[0], same[1])
    assert not torch.equal(other[0], other[1])


def test_hyper_parameters_keep_to_their_ranges() -> None:
    settings = PolicySettings(normalised=0.25)
    found = [hyper(settings, number) for number in range(300)]
    for name in ("step_size", "noise", "init_scale"):
        low, high = getattr(settings, name)
        values = [getattr(one, name) for one in found]
        assert low <= min(values) < low * 1.1
        assert high / 1.1 < max(values) <= high
    assert 50 < sum(one.normalised for one in found) < 100


def test_first_weights_have_the_spread_that_is_asked_for() -> None:
    settings = PolicySettings(hidden=(64, 64), init_scale=(1.5, 1.5))
    state = state_of(initial_weights(settings, 0)[None], settings)
    assert state["2.weight"].std().item() == pytest.approx(1.5 / 8, rel=0.05)
    assert not state["2.bias"].any()


def test_spoilt_copies_have_noise_in_proportion() -> None:
    settings = PolicySettings(hidden=(64, 64), spoilt=(0.1, 1.0))
    last = initial_weights(settings, 0)
    noise = copies(last, 0, settings) - last
    spread = {
        name: value.std((1, 2)) if value.ndim == 3 else value for name, value in state_of(noise, settings).items()
    }
    size = state_of(last[None], settings)["2.weight"].square().mean().sqrt()
    torch.testing.assert_close(spread["2.weight"] / size, torch.tensor([0.1, 1.0]), rtol=0.05, atol=0)
    assert not spread["2.bias"].any()  # biases that are all zero have no size


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"iterations": 0}, TrainingError, "iterations is 0"),
        ({"directions": 0}, TrainingError, "directions is 0"),
        ({"episodes": 1}, TrainingError, "episodes is 1; expected at least 2"),
        ({"hidden": ()}, TrainingError, "hidden"),
        ({"step_size": (0.0, 1.0)}, TrainingError, "step_size is .* above 0"),
        ({"noise": (math.nan, 1.0)}, TrainingError, "noise"),
        ({"normalised": 1.5}, TrainingError, "normalised is 1.5"),
        ({"spoilt": (0.0,)}, TrainingError, "spoilt"),
        ({"seed": -1}, TrainingError, "seed is -1"),
        ({"checkpoints": (0.5,)}, TrainingError, "checkpoints"),
        ({"checkpoints": (0.0, 0.1, 1.0)}, TrainingError, r"\[0, 0, 4\], two of them the same"),
        ({"environment": "cartpol"}, UnknownNameError, 'did you mean "cartpole"'),
        ({"activation": "relo"}, UnknownNameError, 'did you mean "relu"'),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"numbers are \[-1\]"):
        train_policies(torch.tensor([-1]), SMALL)
    crowd = Crowd(drawn(SMALL, 2), shapes_of(SMALL), "tanh")
    with pytest.raises(ShapeError, match=r"starts have shape \(4, 3, 1\); expected \(4, 2, episodes\)"):
        simulate(environment_named("cartpole"), crowd, torch.zeros(4, 3, 1, dtype=torch.float64))


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightspace.zoo.generate.policy_zoo.POLICY_SHARD", 4)


@pytest.mark.parametrize(("activation", "symmetry"), [("relu", "POSITIVE"), ("tanh", "SIGN")])
def test_zoo_holds_what_was_trained(activation: str, symmetry: str, shards: None, tmp_path: Path) -> None:
    """Every row's return is that of its module, played by the oracle from the row's own starts."""
    settings, seen = replace(SMALL, activation=activation, seed=3), []
    zoo = make_policy_zoo(tmp_path, settings, count=6, progress=seen.append)
    assert sum(seen) == 6
    assert zoo.column("network").tolist() == [number for number in range(6) for _ in range(4)]
    assert zoo.column("iteration").tolist() == [0, 2, 4, 4] * 6
    assert zoo.column("stage").tolist() == [0.0, 0.5, 1.0, 1.0] * 6
    assert zoo.column("spoilt").tolist() == [0.0, 0.0, 0.0, 0.5] * 6
    assert zoo.column("final").tolist() == [False, False, True, False] * 6
    assert zoo.column("parent")[4:8].tolist() == [-1, 4, 5, 6]
    assert [(axis.size, str(axis.symmetry)) for axis in zoo.spec.free_axes] == [(5, symmetry), (4, symmetry)]
    environment = environment_named("cartpole")
    for row, network in enumerate(modules(zoo)):
        parts = [value.detach().numpy() for value in network.state_dict().values()]
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        starts = environment.start(_stream(settings, int(zoo.column("number")[row]), "evaluation"), 4).T
        returns = [oracle.episode("cartpole", pairs, activation, start.tolist())[0] for start in starts]
        assert zoo.column("mean_return")[row] == pytest.approx(np.mean(returns), rel=0.02)
        assert zoo.column("standard_error")[row] == pytest.approx(np.std(returns, ddof=1) / 2, rel=0.1, abs=0.2)
        assert zoo.column("scaled_return")[row] == pytest.approx(zoo.column("mean_return")[row] / 500)
    for row, number in enumerate(zoo.column("network")):
        for name, value in asdict(hyper(settings, int(number))).items():
            assert zoo.column(name)[row] == value
    splits = zoo.column("split").reshape(6, 4)
    assert (splits == splits[:, :1]).all()
    PredictAccuracy(target="scaled_return").targets(zoo, zoo.split("train"))


def in_order(features: WeightFeatures, settings: PolicySettings) -> torch.Tensor:
    state = features.to_state()
    return torch.cat([state[name].flatten(1) for name in shapes_of(settings)], 1)


def test_template_of_a_zoo_has_its_symmetry(tmp_path: Path) -> None:
    settings = replace(SMALL, environment="pendulum")
    zoo = make_policy_zoo(tmp_path, settings, count=1)
    assert settings_of(zoo.manifest) == replace(settings, chunk=PolicySettings().chunk)
    assert spec_of(template(zoo.manifest), torch.zeros(1, 3)) == zoo.spec == policy_spec(settings)
    assert [tuple(value.shape) for value in policy(settings).state_dict().values()] == list(
        shapes_of(settings).values()
    )
    moved = act(sample_element(zoo.spec, len(zoo), generator=torch.Generator().manual_seed(0)), zoo.features())
    before, after = (
        evaluate_policies(in_order(features, settings), torch.arange(4), settings)[0]
        for features in (zoo.features(), moved)
    )
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-2)


def test_zoo_goes_on_after_an_interrupt_and_grows(shards: None, tmp_path: Path) -> None:
    whole = make_policy_zoo(tmp_path / "whole", SMALL, count=10)
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        if sum(done) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_policy_zoo(tmp_path / "cut", SMALL, count=10, progress=interrupt)
    assert len(open_zoo(tmp_path / "cut")) == 16
    resumed: list[int] = []
    cut = make_policy_zoo(tmp_path / "cut", SMALL, count=10, progress=resumed.append)
    assert resumed[0] == 4
    assert sum(resumed) == 10
    assert cut.checksum == whole.checksum
    grown = make_policy_zoo(tmp_path / "cut", SMALL, count=12)
    assert len(grown) == 48
    assert torch.equal(flatten(grown.features(slice(32))), flatten(whole.features(slice(32))))
    assert (grown.column("split")[:40] == whole.column("split")).all()


def test_runs_that_diverge_stay_in_the_zoo_and_are_marked(tmp_path: Path) -> None:
    settings = replace(SMALL, step_size=(1e3, 1e3), iterations=100, directions=1, rollouts=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weightspace.zoo.generate.policy._DIVERGED", 5e3)
        zoo = make_policy_zoo(tmp_path, settings, count=2)
    last = zoo.only(zoo.column("final"))
    assert last.column("diverged").all()
    assert (last.column("iteration") < 100).all()
    assert flatten(zoo.features()).abs().max() < 5e5
    assert zoo.column("diverged")[zoo.column("spoilt") > 0].all()


def test_policies_that_never_change_their_action_are_marked() -> None:
    """One that does nothing, one at its limit, one that moves."""
    settings = replace(SMALL, environment="pendulum")
    flat = drawn(settings, 3).float()
    flat[:2] = 0
    flat[1, -1] = 5
    _, _, constant = evaluate_policies(flat, torch.arange(3), settings)
    assert constant.tolist() == [True, True, False]


def test_a_run_may_leave_its_last_policy_alone(tmp_path: Path) -> None:
    zoo = make_policy_zoo(tmp_path, replace(SMALL, checkpoints=(1.0,), spoilt=()), count=2)
    assert zoo.column("final").tolist() == [True, True]
    assert zoo.column("parent").tolist() == [-1, -1]


def test_zoo_refuses_other_settings_and_none(tmp_path: Path) -> None:
    make_policy_zoo(tmp_path, SMALL, count=1)
    make_policy_zoo(tmp_path, replace(SMALL, chunk=1), count=1)
    with pytest.raises(FormatError, match="activation"):
        make_policy_zoo(tmp_path, replace(SMALL, activation="relu"), count=1)
    with pytest.raises(DataError, match="count is 0"):
        make_policy_zoo(tmp_path / "other", SMALL, count=0)
