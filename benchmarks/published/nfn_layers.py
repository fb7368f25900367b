"""Whether every linear layer of the published package nfn (NP and HNP) is one of ours.

Each of their layers, from one channel to one and with random coefficients, is read out as a dense matrix by unit
vectors, in float64, and so is `EquivariantLinear` for every single coefficient, on the permutation spec of the same
network: hidden units for HNP, inputs and outputs too for NP. `residual` is the length of what is left of their matrix
when the best combination of ours is taken away, over the length of their matrix, the largest over the seeds; `control`
is the same for a random matrix, `constants_residual` for what their layer adds to zero weights. `their_rank` is the
dimension of all their matrices together, `missing` what ours can do and theirs cannot: from which parameter to which.
Prints a table in Markdown and one JSON object.

    python benchmarks/published/nfn_layers.py [--seeds 5] [--threads 1]

The wheels of nfn and of einops, which it needs, are fetched by pip into $WEIGHTSPACE_CACHE or ~/.cache/weightspace,
checked and imported from there. They are not installed: nfn would put a top-level package `tests` into the environment.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from package import Package
from torch import Tensor, nn

from weightspace.layers import EquivariantLinear
from weightspace.spec import PERMUTATION, NetworkSpec, spec_of
from weightspace.weights import WeightFeatures, flatten, unflatten

sys.path.extend(
    str(wheel.archive)
    for wheel in (
        Package("pypi", "nfn", "0.1.2", "nfn-0.1.2-py2.py3-none-any.whl",
                "a4719f8e41256a00a6e677d00d5131dc2dd7f68a0fc0d8fc6456e8029319a768", "MIT"),
        Package("pypi", "einops", "0.8.2", "einops-0.8.2-py3-none-any.whl",
                "54058201ac7087911181bfec4af6091bb59380360f069276601256a76af08193", "MIT"),
    )
)  # fmt: skip
from nfn.common import WeightSpaceFeatures, network_spec_from_wsfeat
from nfn.layers import HNPLinear, NPLinear


def mlp(*widths: int) -> tuple[nn.Module, tuple[int, ...]]:
    layers = [module for a, b in pairwise(widths) for module in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*layers[:-1]), (widths[0],)


def cnn() -> tuple[nn.Module, tuple[int, ...]]:
    """Two convolutions, global average pooling, a dense layer."""
    convolutions = nn.Conv2d(1, 2, 2), nn.GELU(), nn.Conv2d(2, 3, 2), nn.GELU()
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), (1, 4, 4)


NETWORKS = {
    "MLP 2-3-1": mlp(2, 3, 1),
    "MLP 2-3-3-1": mlp(2, 3, 3, 1),
    "MLP 2-3-4-2": mlp(2, 3, 4, 2),
    "MLP 3-2-4-3-2": mlp(3, 2, 4, 3, 2),
    "CNN 1-2-3-2": cnn(),
}
LAYERS = {"HNP": HNPLinear, "NP": NPLinear}


def space_of(name: str, kind: str) -> NetworkSpec:
    """The network with the permutations that the layer respects."""
    module, shape = NETWORKS[name]
    spec = spec_of(module, torch.zeros(2, *shape), verify=False).with_symmetry(PERMUTATION)
    ends = [place.axis for place in spec.places] if kind == "NP" else []
    return spec.with_symmetry(PERMUTATION, axes=tuple(dict.fromkeys((*(a.name for a in spec.free_axes), *ends))))


def theirs(spec: NetworkSpec, x: WeightFeatures) -> WeightSpaceFeatures:
    """Features in the package's layout: kernels behind the matrix, one channel in front."""
    shaped = [x[name][..., 0].unsqueeze(1) for name in names_of(spec)]
    return WeightSpaceFeatures(shaped[0::2], shaped[1::2])


def names_of(spec: NetworkSpec) -> list[str]:
    return [param.name for param in spec.params]


def answers(spec: NetworkSpec, layer: nn.Module, x: WeightFeatures) -> Tensor:
    """Shape `(batch, numel)`."""
    y = layer(theirs(spec, x))
    tensors = [t.squeeze(1).unsqueeze(-1) for pair in y for t in pair]
    return flatten(WeightFeatures(spec, tensors))


def read_out(spec: NetworkSpec, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Linear part, flattened, and constant part."""
    basis = unflatten(spec, torch.eye(spec.numel, dtype=torch.float64))
    with torch.no_grad():
        constant = answers(spec, layer, basis.map(torch.zeros_like))
        return (answers(spec, layer, basis) - constant).T.flatten(), constant[0]


def ours(spec: NetworkSpec) -> tuple[Tensor, Tensor]:
    """A column for every coefficient of a layer and for every coefficient of its constants."""
    layer = EquivariantLinear(spec, 1, 1).double()
    zero = unflatten(spec, torch.zeros(1, spec.numel, dtype=torch.float64))
    matrices, constants = [], []
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for name, parameter in layer.named_parameters():
            for entry in range(parameter.numel()):
                parameter.view(-1)[entry] = 1.0
                if name.startswith("constants"):
                    constants.append(flatten(layer(zero))[0])
                else:
                    matrices.append(layer.to_dense().flatten())
                parameter.view(-1)[entry] = 0.0
    return torch.stack(matrices, 1), torch.stack(constants, 1)


def left(columns: Tensor, vector: Tensor) -> float:
    """Share of a vector's length outside the span of columns."""
    best = torch.linalg.lstsq(columns, vector[:, None], driver="gelsd").solution
    return ((columns @ best)[:, 0] - vector).norm().div(vector.norm()).item()


def drawn(spec: NetworkSpec, kind: str, seed: int) -> nn.Module:
    """A layer of theirs with every coefficient drawn."""
    torch.manual_seed(seed)
    like = theirs(spec, unflatten(spec, torch.zeros(1, spec.numel)))
    layer = LAYERS[kind](network_spec_from_wsfeat(like), 1, 1).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def blocks_outside(spec: NetworkSpec, columns: Tensor, ours: Tensor) -> list[str]:
    """Blocks of the matrices of ours that lie outside a span: source, then target."""
    names = [param.name for param in spec.params for _ in range(prod(spec.shape(param.name)))]
    found = {}
    for column in ours.T:
        if left(columns, column) > 1e-6:
            row, entry = column.reshape(spec.numel, spec.numel).nonzero()[0].tolist()
            found[f"{names[entry]} -> {names[row]}"] = None
    return list(found)


def compared(name: str, kind: str, seeds: int) -> dict[str, object]:
    spec = space_of(name, kind)
    matrices, constants = ours(spec)
    layers = [read_out(spec, drawn(spec, kind, seed)) for seed in range(seeds)]
    everything = torch.stack([read_out(spec, drawn(spec, kind, s))[0] for s in range(matrices.shape[1] + 5)], 1)
    biases = sum(p.numel() for key, p in drawn(spec, kind, 0).named_parameters() if key.endswith("bias"))
    count = sum(p.numel() for p in drawn(spec, kind, 0).parameters())
    return {
        "numbers": spec.numel,
        "residual": max(left(matrices, linear) for linear, _ in layers),
        "constants_residual": max(left(constants, constant) for _, constant in layers),
        "control": left(matrices, torch.randn(spec.numel**2, dtype=torch.float64)),
        "their_coefficients": count - biases,
        "their_rank": int(torch.linalg.matrix_rank(everything)),
        "missing": blocks_outside(spec, everything, matrices),
        "our_coefficients": matrices.shape[1],
        "their_constants": biases,
        "our_constants": constants.shape[1],
    }


def markdown(found: dict[str, dict[str, dict]]) -> str:
    head = ("layer", "network", "their coefficients", "their rank", "ours", "residual", "of constants")
    rows: list[Sequence[object]] = [
        (f"`{LAYERS[kind].__name__}`", name, f["their_coefficients"], f["their_rank"], f["our_coefficients"],
         f"{f['residual']:.0e}", f"{f['constants_residual']:.0e}")
        for kind, networks in found.items()
        for name, f in networks.items()
    ]  # fmt: skip
    lines = [head, ["---", "---"] + ["---:"] * (len(head) - 2), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = {kind: {name: compared(name, kind, arguments.seeds) for name in NETWORKS} for kind in LAYERS}
    print(markdown(figures))
    print(json.dumps({"torch": torch.__version__, "seeds": arguments.seeds, **figures}, indent=1))
