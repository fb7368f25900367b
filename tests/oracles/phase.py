"""Phases of sine networks, unit by unit in plain loops, and the two ways in which published code got the fold wrong."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Fold = Callable[[float, float], tuple[float, float]]


def folded(state: State, omegas: Sequence[float], fold: Fold | None = None) -> dict[str, Tensor]:
    """One multilayer perceptron with sines behind all layers but the last, every phase within half a turn."""
    out = {key: tensor.clone() for key, tensor in state.items()}
    for layer, omega in enumerate(omegas):
        weight, bias = out[f"{2 * layer}.weight"], out[f"{2 * layer}.bias"]
        for unit in range(len(bias)):
            bias[unit], sign = (fold or nearest)(bias[unit].item(), omega)
            weight[unit] *= sign
    return out


def nearest(bias: float, omega: float) -> tuple[float, float]:
    """The bias within half a turn, and the sign of what comes in."""
    turns = 0
    while omega * bias - turns * math.pi > math.pi / 2:
        turns += 1
    while omega * bias - turns * math.pi < -math.pi / 2:
        turns -= 1
    rest = (omega * bias - turns * math.pi) / omega
    return (rest, 1.0) if turns % 2 == 0 else (-rest, -1.0)


def without_frequency(bias: float, omega: float) -> tuple[float, float]:
    """As published: the bias is held for the phase."""
    return nearest(bias, 1.0)


def with_slip(bias: float, omega: float) -> tuple[float, float]:
    """As published, its frequency put right: biases are made positive, and what is beyond `pi` has `pi` added."""
    before = -1.0 if omega * bias < 0 else 1.0
    sign, phase = before, abs(omega * bias)
    phase = phase % (2 * math.pi) if phase > 2 * math.pi else phase
    if math.pi < phase <= 2 * math.pi:
        phase, sign = phase + math.pi, -sign
    if math.pi / 2 < phase <= math.pi:
        phase, sign = phase - math.pi, -sign
    return sign * phase / omega, sign * before


def spelt_anew(
    state: State, omegas: Sequence[float], perms: Sequence[Tensor], signs: Sequence[Tensor], turns: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The same function: units reordered, flipped by `s`, their phases shifted by `k` half turns.

    What comes into a unit is multiplied by `s`, its bias becomes `s b + k pi / omega`, and what leaves it is multiplied
    by `s (-1)^k`.
    """
    out = {key: tensor.clone() for key, tensor in state.items()}
    for layer, omega in enumerate(omegas):
        weight, bias, above = (out[f"{2 * layer}.weight"], out[f"{2 * layer}.bias"], out[f"{2 * layer + 2}.weight"])
        old = weight.clone(), bias.clone(), above.clone()
        for unit, before in enumerate(perms[layer].tolist()):
            s, k = signs[layer][unit].item(), int(turns[layer][unit])
            weight[unit] = s * old[0][before]
            bias[unit] = s * old[1][before] + k * math.pi / omega
            above[:, unit] = s * (-1) ** k * old[2][:, before]
    return out


def stacked(states: Sequence[State]) -> dict[str, Tensor]:
    """Several state dicts as one with a batch."""
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}
