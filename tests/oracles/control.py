"""Classic control one episode at a time, in plain numbers: accelerations by solving the equations of motion."""

import math

import numpy as np

GRAVITY = 9.8


def cartpole(state: list[float], action: float) -> tuple[list[float], float, bool]:
    """Newton for the whole along the track, and for the pole about its pivot."""
    x, v, angle, turning = state
    force, mass, pole, half = (10.0 if action == 1 else -10.0), 1.1, 0.1, 0.5
    matrix = [[mass, pole * half * math.cos(angle)], [math.cos(angle), 4 / 3 * half]]
    right = [force + pole * half * turning**2 * math.sin(angle), GRAVITY * math.sin(angle)]
    pull, bend = np.linalg.solve(matrix, right).tolist()
    after = [x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * turning, turning + 0.02 * bend]
    return after, 1.0, abs(after[0]) > 2.4 or abs(after[2]) > 12 * 2 * math.pi / 360


def pendulum(state: list[float], action: float) -> tuple[list[float], float, bool]:
    angle, speed = state
    torque = min(max(action, -2.0), 2.0)
    off = math.atan2(math.sin(angle), math.cos(angle))
    cost = off**2 + 0.1 * speed**2 + 0.001 * torque**2
    speed = min(max(speed + (3 * 10 / 2 * math.sin(angle) + 3 * torque) * 0.05, -8.0), 8.0)
    return [angle + speed * 0.05, speed], -cost, False


def acrobot_rate(state: np.ndarray, torque: float) -> np.ndarray:
    """The mass matrix times the accelerations is what acts on both links."""
    one, two, speed_one, speed_two = state.tolist()
    inertia_one = inertia_two = 0.5**2 + 1  # of each link about its upper end
    shared = 0.5 * math.cos(two)
    matrix = [
        [inertia_one + inertia_two + 1 + 2 * shared, inertia_two + shared],
        [inertia_two + shared, inertia_two],
    ]
    weight_two = 0.5 * GRAVITY * math.sin(one + two)
    weight_one = GRAVITY * (0.5 + 1) * math.sin(one) + weight_two
    whirl = 0.5 * math.sin(two)
    right = [
        whirl * speed_two**2 + 2 * whirl * speed_one * speed_two - weight_one,
        torque - whirl * speed_one**2 - weight_two,
    ]
    return np.array([speed_one, speed_two, *np.linalg.solve(matrix, right)])


def acrobot(state: list[float], action: float) -> tuple[list[float], float, bool]:
    y, torque, h = np.array(state), float(action) - 1, 0.2
    k1 = acrobot_rate(y, torque)
    k2 = acrobot_rate(y + h / 2 * k1, torque)
    k3 = acrobot_rate(y + h / 2 * k2, torque)
    k4 = acrobot_rate(y + h * k3, torque)
    one, two, speed_one, speed_two = (y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6).tolist()
    one, two = (math.atan2(math.sin(angle), math.cos(angle)) for angle in (one, two))
    fast, faster = 4 * math.pi, 9 * math.pi
    after = [one, two, min(max(speed_one, -fast), fast), min(max(speed_two, -faster), faster)]
    high = -math.cos(one) - math.cos(one + two) > 1
    return after, 0.0 if high else -1.0, high


def car(state: list[float], push: float, goal: float) -> tuple[list[float], bool]:
    place, speed = state
    speed = min(max(speed + push - 0.0025 * math.cos(3 * place), -0.07), 0.07)
    place = min(max(place + speed, -1.2), 0.6)
    if place == -1.2 and speed < 0:
        speed = 0.0
    return [place, speed], place >= goal and speed >= 0


def mountaincar(state: list[float], action: float) -> tuple[list[float], float, bool]:
    after, there = car(state, (action - 1) * 0.001, 0.5)
    return after, -1.0, there


def mountaincar_continuous(state: list[float], action: float) -> tuple[list[float], float, bool]:
    after, there = car(state, min(max(action, -1.0), 1.0) * 0.0015, 0.45)
    return after, (100.0 if there else 0.0) - 0.1 * action**2, there


STEPS = {
    "cartpole": cartpole,
    "pendulum": pendulum,
    "acrobot": acrobot,
    "mountaincar": mountaincar,
    "mountaincar-continuous": mountaincar_continuous,
}
LENGTHS = {"cartpole": 500, "pendulum": 200, "acrobot": 500, "mountaincar": 200, "mountaincar-continuous": 999}
LIMITS = {"pendulum": 2.0, "mountaincar-continuous": 1.0}


def seen(name: str, state: list[float]) -> list[float]:
    if name == "pendulum":
        return [math.cos(state[0]), math.sin(state[0]), state[1]]
    if name == "acrobot":
        one, two = state[:2]
        return [math.cos(one), math.sin(one), math.cos(two), math.sin(two), *state[2:]]
    return state


def episode(
    name: str, layers: list[tuple[np.ndarray, np.ndarray]], activation: str, start: list[float]
) -> tuple[float, int, list[float]]:
    """Return, length and actions of one policy, given as weights and biases, from one start."""
    state, total, actions, ended = list(start), 0.0, [], False
    while not ended and len(actions) < LENGTHS[name]:
        values = np.array(seen(name, state), layers[0][0].dtype)
        for weight, bias in layers[:-1]:
            values = weight @ values + bias
            values = np.tanh(values) if activation == "tanh" else np.maximum(values, 0)
        outputs = layers[-1][0] @ values + layers[-1][1]
        limit = LIMITS.get(name)
        action = float(outputs.argmax()) if limit is None else limit * min(max(float(outputs[0]), -1.0), 1.0)
        state, reward, ended = STEPS[name](state, action)
        total += reward
        actions.append(action)
    return total, len(actions), actions
