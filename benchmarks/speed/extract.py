"""How long it takes to read a spec off a module: transformers of twelve layers, and chains of ten to a thousand layers.

`torch.export` alone and the whole of `spec_of` (without its check of the function) take turns, several times over;
figures are medians in seconds of one process, and `beyond_export` is their difference: tracing and solving. For a chain
`growth` is how many times longer one layer takes than in the chain of a tenth of its length: 1 is linear. Prints one
JSON object.

    python benchmarks/speed/extract.py [--turns 3] [--threads 1] [--chains 10 100 300 1000]

The case "bert" is left out where the library transformers is not installed.
"""

import argparse
import gc
import json
import time
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.spec import spec_of

Inputs = tuple[Tensor, ...] | dict[str, Tensor]


def encoder() -> tuple[nn.Module, Inputs]:
    layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True)
    layers = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
    return nn.Sequential(layers, nn.Linear(64, 5)).eval(), (torch.randn(2, 8, 64),)


def bert() -> tuple[nn.Module, Inputs]:
    from transformers import BertConfig, BertForSequenceClassification

    width: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": 12,
    }
    module = BertForSequenceClassification(BertConfig(vocab_size=50, max_position_embeddings=16, **width))
    return module.eval(), {"input_ids": torch.arange(16).reshape(2, 8), "attention_mask": torch.ones(2, 8).long()}


def chain(length: int) -> tuple[nn.Module, Inputs]:
    layers = [layer for _ in range(length) for layer in (nn.Linear(8, 8), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(8, 3)).eval(), (torch.randn(2, 8),)


def export(module: nn.Module, inputs: Inputs) -> None:
    positional, named = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    with torch.no_grad():
        torch.export.export(module, positional, named, strict=False)


def extract(module: nn.Module, inputs: Inputs) -> None:
    spec_of(module, inputs, verify=False)


def timed(module: nn.Module, inputs: Inputs, turns: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"export": [], "spec_of": []}
    for _ in range(turns):
        for name, way in (("export", export), ("spec_of", extract)):
            gc.collect()  # or the garbage of one way is swept in the other's time
            start = time.perf_counter()
            way(module, inputs)
            times[name].append(time.perf_counter() - start)
    seconds = {name: median(spent) for name, spent in times.items()}
    return {**seconds, "beyond_export": seconds["spec_of"] - seconds["export"]}


def growth(chains: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    """How many times longer one layer takes than in a chain of a tenth of the length."""
    return {
        f"{length // 10} to {length} layers": {
            part: round(chains[length][part] / (10 * chains[length // 10][part]), 2) for part in chains[length]
        }
        for length in chains
        if length // 10 in chains
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--chains", type=int, nargs="+", default=[10, 100, 300, 1000])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    extract(*chain(1))  # the first export of a process loads what all others use
    cases = {"torch.nn.TransformerEncoder": encoder, **({"bert": bert} if find_spec("transformers") else {})}
    deep = {name: timed(*case(), arguments.turns) for name, case in cases.items()}
    chains = {length: timed(*chain(length), arguments.turns) for length in sorted(arguments.chains)}
    found = {
        "threads": arguments.threads,
        "torch": torch.__version__,
        "twelve_layers": deep,
        "chains": chains,
        "growth": growth(chains),
    }
    print(json.dumps(json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 4)), indent=1))


if __name__ == "__main__":
    main()
