"""What single precision and bfloat16 do to layers and models.

Symmetry: models in their preset sizes, and `EquivariantLinear` and `PathProducts` alone, answer random networks before
and after random elements of the group moved them: in order and signs, and ReLU networks in scales too, between 0.1 and
10, 1e-4 and 1e4, 1e-8 and 1e8. The figure is the largest change of an answer over the spread of that answer over the
networks (standard deviation). What comes out as a network is moved back, in float64, and read number by number; of an
edited network only the edit counts, at a step of one. Networks are moved in float64 and rounded to float32.

bfloat16: the same under `torch.autocast` on networks that nothing moved, against float32: root mean square of the
difference over root mean square of the spread, or the error where it does not run.

Networks (standard normal numbers) and models are random, models in evaluation mode; models that know permutations only
are moved by permutations. Prints a table in Markdown and one JSON object.

    python benchmarks/precision.py [--networks 32] [--threads 1] [--device cpu] [--only CASE ...]
"""

import argparse
import copy
import json
from collections.abc import Callable

import torch
from torch import Tensor, nn

from weightspace.layers import EquivariantLinear, PathProducts, dense_spec
from weightspace.models import HNP, MAGEPNFN, NP, Edit, FlatMLP, Invariant, MonomialNFN, StatNN
from weightspace.spec import FIXED, PERMUTATION, Factor, NetworkSpec, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import Element, WeightFeatures, act, sample_element

DECADES = (1, 4, 8)
ANSWERS = Invariant(10)
Case = tuple[NetworkSpec, Callable[[NetworkSpec], nn.Module]]


def siren() -> NetworkSpec:
    return spec_of(nn.Sequential(nn.Linear(2, 32), Sine(30.0), nn.Linear(32, 32), Sine(30.0), nn.Linear(32, 1)))


def small_cnn(activation: nn.Module) -> NetworkSpec:
    """The networks of the Small CNN Zoo."""
    convolutions = [nn.Conv2d(1, 16, 3), activation, nn.Conv2d(16, 16, 3), activation, nn.Conv2d(16, 16, 3), activation]
    module = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return spec_of(module, torch.zeros(1, 1, 9, 9))


SPECS = {"CNN, ReLU": small_cnn(nn.ReLU()), "CNN, tanh": small_cnn(nn.Tanh()), "SIREN": siren()}
# Those that respect the whole group, then those that respect permutations only.
PRESETS: tuple[tuple[type, dict[str, tuple[str, ...]]], ...] = (
    (
        MonomialNFN,
        {"CNN, ReLU": ("cnn-zoo-relu",), "CNN, tanh": ("cnn-zoo-tanh",), "SIREN": ("demo", "siren-classify")},
    ),
    (MAGEPNFN, {"CNN, ReLU": ("cnn-zoo-relu",), "CNN, tanh": ("cnn-zoo-tanh",), "SIREN": ("demo", "siren-classify")}),
    (HNP, {"CNN, ReLU": ("cnn-zoo",), "SIREN": ("demo", "siren-classify")}),
    (NP, {"CNN, ReLU": ("cnn-zoo",), "SIREN": ("demo", "siren-classify")}),
    (StatNN, {"SIREN": ("demo",)}),
    (FlatMLP, {"SIREN": ("demo",)}),
)
EDITORS = (MonomialNFN, MAGEPNFN, HNP, NP)
GROUP = {HNP: PERMUTATION, NP: PERMUTATION, StatNN: PERMUTATION, FlatMLP: FIXED}


def answering(kind: type, name: str) -> Callable[[NetworkSpec], nn.Module]:
    return lambda spec: kind.preset(name, spec, ANSWERS)


class Change(nn.Module):
    """What an editor adds to a network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        nn.init.ones_(model.step)

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        return self.model(x) + x.map(torch.neg)


def cases() -> dict[str, Case]:
    """What is measured, and on which networks."""
    found: dict[str, Case] = {}
    for name, spec in SPECS.items():
        found[f"`EquivariantLinear`, {name}"] = spec, lambda s: EquivariantLinear(s, 1, 16)
        found[f"`PathProducts`, {name}"] = dense_spec(spec), lambda s: PathProducts(s, 1, 16)
    for kind, presets in PRESETS:
        for space, names in presets.items():
            spec = SPECS[space].with_symmetry(GROUP[kind]) if kind in GROUP else SPECS[space]
            for name in names:
                found[f"`{kind.__name__}` {name}, {space}"] = spec, answering(kind, name)
    for kind in EDITORS:
        spec = SPECS["SIREN"].with_symmetry(GROUP[kind]) if kind in GROUP else SPECS["SIREN"]
        found[f"`{kind.__name__}` siren-edit, SIREN"] = (
            spec,
            lambda s, k=kind: Change(k.preset("siren-edit", s, Edit())),
        )
        if kind not in GROUP:
            spec = SPECS["CNN, ReLU"]
            found[f"`{kind.__name__}` demo edit, CNN, ReLU"] = (
                spec,
                lambda s, k=kind: Change(k.preset("demo", s, Edit())),
            )
    return found


def numbers(y: Tensor | WeightFeatures, back: Element | None = None) -> Tensor:
    """Answers in float64, one row per network; networks are moved back."""
    y = y.to("cpu", torch.float64)
    if isinstance(y, Tensor):
        return y
    return torch.cat([tensor.flatten(1) for tensor in (y if back is None else act(back, y)).tensors], dim=1)


def symmetry_error(model: nn.Module, x: WeightFeatures, g: Element, device: str, dtype: torch.dtype) -> float:
    model = copy.deepcopy(model).to(device, dtype)
    with torch.no_grad():
        before = numbers(model(x.to(device, dtype)))
        after = numbers(model(act(g, x).to(device, dtype)), g.inverse())
    return ((after - before).abs().amax(0) / before.std(0)).max().item()


def bfloat16_error(model: nn.Module, x: WeightFeatures, device: str) -> float | str:
    model, x = copy.deepcopy(model).to(device), x.to(device, torch.float32)
    with torch.no_grad():
        before = numbers(model(x))
        try:
            with torch.autocast(device, torch.bfloat16):
                after = numbers(model(x))
        except Exception as error:  # whatever goes wrong is what this table is there to show
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ((after - before).square().mean() / before.var(0).mean()).sqrt().item()


def measured(case: Case, networks: int, device: str) -> dict[str, object]:
    spec, make = case
    torch.manual_seed(0)
    model = make(spec).eval()
    generator = torch.Generator().manual_seed(0)
    x = random_features(spec, networks, generator=generator)
    scaled = any(Factor.POSITIVE in axis.symmetry.factors for axis in spec.axes)
    elements = {
        f"1e{decades}": sample_element(spec, networks, generator=generator, log_scale=decades)
        for decades in (DECADES if scaled else DECADES[:1])
    }
    found: dict[str, object] = {"scaled": scaled}
    found["float64"] = symmetry_error(model, x, list(elements.values())[-1], device, torch.float64)
    found["float32"] = {name: symmetry_error(model, x, g, device, torch.float32) for name, g in elements.items()}
    return found | {"bfloat16": bfloat16_error(model, x, device)}


def markdown(found: dict[str, dict]) -> str:
    head = ("layer or model", "float64", "order, signs", *(f"scales to 1e{d}" for d in DECADES), "bfloat16")
    lines = [head, ("---", *["---:"] * (len(head) - 1))]
    for name, f in found.items():
        errors = [f"{error:.0e}" for error in f["float32"].values()]
        columns = ["", *errors] if f["scaled"] else [*errors, *[""] * len(DECADES)]
        half = f["bfloat16"] if isinstance(f["bfloat16"], str) else f"{f['bfloat16']:.0e}"
        lines.append((name, f"{f['float64']:.0e}", *columns, half))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", help="parts of names")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = {
        name: measured(case, arguments.networks, arguments.device)
        for name, case in cases().items()
        if not arguments.only or any(part in name for part in arguments.only)
    }
    print(markdown(figures))
    machine = {"torch": torch.__version__, "device": arguments.device, "networks": arguments.networks}
    print(json.dumps(machine | figures, indent=1))
