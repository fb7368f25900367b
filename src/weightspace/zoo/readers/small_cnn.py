"""The Small CNN Zoo: one matrix of weights in TensorFlow's order, and a table of metrics.

.. code-block:: text

    weights.npy       (checkpoints, 4970), a flattened network per row
    layout.csv        varname, start_idx, end_idx, shape: which columns belong to which variable
    metrics.csv.gz    one row per row of the matrix: config.*, modeldir, step, accuracies and losses

Each run (``modeldir``) has up to nine checkpoints, which are rows of their own and share one split.

References:
    Unterthiner, Keysers, Gelly, Bousquet, Tolstikhin, *Predicting Neural Network Accuracy from Weights*, 2020.
    The published split is that of Zhou et al., *Permutation Equivariant Neural Functionals*, 2023: a csv file with an
    order of the rows.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from weightspace.errors import FormatError, SpecError, unknown
from weightspace.spec import PERMUTATION, NetworkSpec, spec_of
from weightspace.weights import WeightFeatures, features_of, flatten, unflatten
from weightspace.zoo.generate.cnn import ACTIVATIONS
from weightspace.zoo.generate.template import recorded
from weightspace.zoo.readers.architecture import UNKNOWN
from weightspace.zoo.readers.collection import Collection, Request
from weightspace.zoo.readers.file import finite
from weightspace.zoo.readers.table import check_lineage, check_published, column, drawn, numbered, read_csv
from weightspace.zoo.readers.tree import checked_file, digest_of

__all__ = ["read_small_cnn_zoo"]

_COLUMNS = ("config.activation", "modeldir", "step", "test_accuracy")
_NUMBERS = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")
_ENDS = {"kernel:0": "weight", "bias:0": "bias"}
# TensorFlow keeps (height, width, in, out) and (in, out); torch (out, in, height, width) and (out, in).
_TURNED = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_SIDE = 32


@dataclass(frozen=True)
class Block:
    """The columns of one variable."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


def read_small_cnn_zoo(request: Request) -> Collection:
    """The Small CNN Zoo of one data set.

    Args:
        request: its settings ``activation``, ``split``, ``final``, ``count``, ``seed`` and ``fractions`` count.

    Raises:
        FormatError: a file missing, cut short or damaged; numbers of rows, columns or shapes that contradict each
            other; a split that is none.
        UnknownNameError: an activation that none of the networks has.
    """
    root, settings = request.root, request.settings
    metrics_path = _metrics_path(root)
    layout = _layout(checked_file(root, root / "layout.csv"))
    weights = _matrix(checked_file(root, root / "weights.npy"), layout)
    metrics = read_csv(checked_file(root, metrics_path), _COLUMNS)
    if metrics.num_rows != len(weights):
        raise FormatError(
            f"{metrics_path} has {metrics.num_rows:,} rows and {root / 'weights.npy'} {len(weights):,}; expected one "
            "row per network. Remedy: copy both again, from one data set."
        )
    activation = _activation(settings.activation, column(metrics, "config.activation", pa.string(), metrics_path))
    record: dict[str, Any] = {"kind": "cnn", "activation": activation, "classes": layout[-1].shape[-1]}
    spec, order = _space(record, layout, root)
    table, rows = _table(request, metrics, metrics_path, activation)
    told = {"name": root.name, "networks": len(weights), "imported": len(rows)}
    files = [root / "weights.npy", root / "layout.csv", metrics_path, *([settings.split] if settings.split else [])]
    return Collection(
        spec=spec,
        table=table,
        read=partial(_read, weights, rows, order, spec),
        settings={
            "template": record if activation != "any" else {"kind": "chain of any activation"},
            "activation": activation,
            "final": settings.final,
            "split": settings.split.name
            if settings.split
            else {"seed": settings.seed, "fractions": settings.fractions},
        },
        forward=_forward(activation),
        source=told | {"described": {path.name: digest_of(path) for path in files}},
    )


def _metrics_path(root: Path) -> Path:
    """The table, which some copies hold unpacked."""
    packed = root / "metrics.csv.gz"
    plain = root / "metrics.csv"
    return plain if plain.exists() and not packed.exists() else packed


def _layout(path: Path) -> list[Block]:
    """What the columns of the matrix are, in the order of the network."""
    table = read_csv(path, ("varname", "start_idx", "end_idx", "shape"))
    blocks = []
    for row in table.to_pylist():
        # Shapes are written as Python tuples; only numbers are taken, and nothing is evaluated.
        shape = tuple(int(size) for size in re.findall(r"\d+", str(row["shape"])))
        block = Block(str(row["varname"]), row["start_idx"], row["end_idx"], shape)
        if (
            not re.fullmatch(r"\(\d+,?( *\d+,?)*\)", str(row["shape"]))
            or int(np.prod(shape)) != block.stop - block.start
        ):
            raise FormatError(
                f"{path}: {block.name!r} has shape {row['shape']!r} and the columns {block.start} to {block.stop}; "
                "expected a shape such as (3, 3, 1, 16) of as many entries. Remedy: copy the file again."
            )
        blocks.append(block)
    ends = [0, *(block.stop for block in sorted(blocks, key=lambda block: block.start))]
    if sorted(block.start for block in blocks) != ends[:-1]:
        raise FormatError(f"{path}: its variables overlap or leave gaps between columns. Remedy: copy it again.")
    return blocks


def _matrix(path: Path, layout: Sequence[Block]) -> npt.NDArray[Any]:
    """The weights, mapped from the disk."""
    try:
        weights: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as failure:
        raise FormatError(
            f"{path} is cut short or no file of numbers ({failure}). Remedy: copy it again; an archive of Python "
            "objects is not read."
        ) from failure
    columns = sum(block.stop - block.start for block in layout)
    if (
        not isinstance(weights, np.ndarray)
        or weights.ndim != 2
        or weights.dtype.kind != "f"
        or weights.shape[1] != columns
    ):
        found = f"{weights.dtype} of shape {weights.shape}" if isinstance(weights, np.ndarray) else "an archive"
        raise FormatError(
            f"{path} holds {found}; expected floating point numbers, {columns} columns as layout.csv says."
        )
    return weights


def _activation(wanted: str | None, found: npt.NDArray[Any]) -> str:
    """Whose networks are read: one activation has one weight space."""
    names, counts = np.unique(found.astype(np.str_), return_counts=True)
    valid = [str(name) for name in names if name in ACTIVATIONS]
    told = ", ".join(f"{count:,} of {name}" for name, count in zip(names, counts, strict=True))
    if wanted is None:
        if list(names) == valid and len(valid) == 1:
            return valid[0]
        raise SpecError(
            f"the source holds networks of several activations ({told}), with other symmetries. Remedy: give one, or "
            "any for all of them as far as units may be permuted."
        )
    if wanted != "any" and wanted not in valid:
        raise unknown("activation", wanted, [*valid, "any"])
    return wanted


def _space(record: Mapping[str, Any], layout: Sequence[Block], root: Path) -> tuple[NetworkSpec, npt.NDArray[np.int64]]:
    """The weight space, and for each of its parameters the column of the matrix."""
    known = record["activation"] != "any"
    module = recorded({**record, "activation": record["activation"] if known else "tanh"})
    spec = spec_of(module, torch.zeros(1, 1, _SIDE, _SIDE))
    if not known:
        spec = _permuted(spec)
    columns = _turned(layout, root)
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    names = _names(layout, shapes, root)
    for name, tensor in columns.items():
        if tuple(tensor.shape) != shapes[names[name]]:
            raise FormatError(
                f"{root / 'layout.csv'}: {name!r} has shape {tuple(tensor.shape)} in torch's order of axes; the "
                f"network has {shapes[names[name]]}. Remedy: this reader knows three 3 x 3 convolutions of 16 channels "
                "from one, their mean and a dense layer; write others as a folder of state dicts."
            )
    state = {names[name]: tensor[None] for name, tensor in columns.items()}
    return spec, flatten(features_of(spec, state))[0].long().numpy()


def _permuted(spec: NetworkSpec) -> NetworkSpec:
    """What holds for any activation."""
    found = spec.with_symmetry(PERMUTATION)
    return replace(found, places=tuple(replace(p, activation=UNKNOWN) if p.activation else p for p in found.places))


def _turned(layout: Sequence[Block], root: Path) -> dict[str, Tensor]:
    """The column of each entry of each variable, in torch's order of axes."""
    found = {}
    for block in layout:
        if not block.name.endswith(tuple(_ENDS)) or len(block.shape) not in _TURNED:
            raise FormatError(
                f"{root / 'layout.csv'} names {block.name!r} of shape {block.shape}; expected variables that end in "
                f"{' or '.join(_ENDS)}, of one, two or four axes."
            )
        # In double precision, for features are real numbers; columns far beyond any network's are exact.
        columns = torch.arange(block.start, block.stop, dtype=torch.float64).reshape(block.shape)
        found[block.name] = columns.permute(_TURNED[len(block.shape)])
    return found


def _names(layout: Sequence[Block], shapes: Mapping[str, tuple[int, ...]], root: Path) -> dict[str, str]:
    """The name in torch's network of each variable: layers in the order in which the matrix has them."""
    layers = dict.fromkeys(block.name.rpartition("/")[0] for block in sorted(layout, key=lambda block: block.start))
    ours = dict.fromkeys(key.rpartition(".")[0] for key in shapes)
    pairs = list(zip(layers, ours, strict=False))  # told apart below
    names = {f"{there}/{end}": f"{here}.{leaf}" for there, here in pairs for end, leaf in _ENDS.items()}
    if len(layers) != len(ours) or {block.name for block in layout} != set(names):
        found = ", ".join(block.name for block in layout)
        raise FormatError(
            f"{root / 'layout.csv'} names {found}; expected a kernel:0 and a bias:0 for each of {len(ours)} layers."
        )
    return names


def _table(request: Request, metrics: pa.Table, path: Path, activation: str) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The rows that are read, and what is known of them."""
    settings = request.settings
    steps = column(metrics, "step", pa.int64(), path)
    networks = numbered(metrics["modeldir"].to_pylist())
    _check_checkpoints(networks, steps, path)
    last = steps == steps.max()
    chosen = np.ones(len(steps), bool)
    if activation != "any":
        chosen &= column(metrics, "config.activation", pa.string(), path).astype(np.str_) == activation
    if settings.final:
        chosen &= last
    if settings.split is None:
        splits = drawn(networks, settings)
    else:
        check_published(settings, settings.split)
        splits = _published(settings.split, networks, last)
        chosen &= splits != ""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise FormatError(f"{path} names no network that was asked for.")
    check_lineage(networks[rows], splits[rows], settings.split)
    ranks = _ranks(networks, steps)
    columns: dict[str, Any] = {
        "number": rows,
        "network": networks[rows],
        "checkpoint": ranks[rows],
        "step": steps[rows],
        "final": last[rows],
        "split": pa.array(splits[rows].tolist(), pa.string()),
    }
    for name in metrics.column_names:
        short = name.removeprefix("config.")
        if short not in columns:
            values = metrics[name].take(pa.array(rows)).combine_chunks()
            columns[short] = values.cast(pa.float64()) if name in _NUMBERS else values
    if {"train_accuracy", "test_accuracy"} <= columns.keys() and "gap" not in columns:
        columns["gap"] = columns["train_accuracy"].to_numpy() - columns["test_accuracy"].to_numpy()
    return pa.table(columns), rows


def _check_checkpoints(networks: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], path: Path) -> None:
    pairs, counts = np.unique(np.stack([networks, steps]), axis=1, return_counts=True)
    if (counts > 1).any():
        network, step = pairs[:, counts.argmax()]
        raise FormatError(f"{path} has step {step} of run {network} {counts.max()} times; expected each once.")


def _ranks(networks: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which checkpoint of its run a row is, from 0."""
    order = np.lexsort((steps, networks))
    first = np.searchsorted(networks[order], networks[order])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - first
    return ranks


def _published(path: Path, networks: npt.NDArray[np.int64], last: npt.NDArray[np.bool_]) -> np.ndarray:
    r"""The split of each row as its publication draws it, for all checkpoints of a run that of its last; "" for none.

    The file lists row numbers in an order. Of those that are last checkpoints, the second half is test; the first
    half is shuffled by Python's generator of seed 0, and of this four fifths are train and the others val. Its first
    line is a header, 0, that the published program reads as a row number; so does this, for the order depends on it.
    """
    order = column(read_csv(path, names=["row"]), "row", pa.int64(), path)
    outside = order[(order < 0) | (order >= len(networks))]
    if len(outside):
        raise FormatError(
            f"{path} names row {outside[0]}; the source has {len(networks):,}. Remedy: give its own split."
        )
    ends = order[last[order]]
    half = len(ends) // 2
    first = list(range(half))
    random.Random(0).shuffle(first)
    names = np.full(len(ends), "test", dtype="<U5")
    names[first[: int(0.8 * half)]] = "train"
    names[first[int(0.8 * half) :]] = "val"
    found = np.full(int(networks.max()) + 1, "", dtype="<U5")
    # Where a row stands twice, a test network stays one: nothing is learnt from what is tested on.
    for name in ("train", "val", "test"):
        found[networks[ends[names == name]]] = name
    return found[networks]


def _forward(activation: str) -> dict[str, Any]:
    return {
        "layers": f"{activation}(conv 3x3, stride 2, no padding) three times, mean over positions, W x + b",
        "input": "grey: the mean of the colours, one channel, of the size of the data set's images",
        "pixel_range": [-1.0, 1.0],
        "output": "logits",
    }


def _read(
    weights: npt.NDArray[Any],
    numbers: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    spec: NetworkSpec,
    rows: Sequence[int],
) -> tuple[WeightFeatures, dict[str, Any]]:
    """Some networks, their columns in the order of the spec."""
    flat = np.asarray(weights[numbers[list(rows)]], dtype=np.float32)[:, order]
    features = unflatten(spec, torch.from_numpy(flat))
    return features, {"diverged": ~finite(features)}
