"""From a source in one of the formats of the field to a zoo: shard by shard, and on from where it stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import nn

from weightspace.errors import DataError, FormatError, unknown
from weightspace.spec import NetworkSpec
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.readers.collection import Collection, ImportSettings, Request
from weightspace.zoo.readers.dws_siren import read_dws_siren
from weightspace.zoo.readers.hub import read_peft, read_safetensors
from weightspace.zoo.readers.nfn_siren import read_nfn_siren
from weightspace.zoo.readers.small_cnn import read_small_cnn_zoo
from weightspace.zoo.readers.state_dict import read_state_dicts
from weightspace.zoo.shard import read_shard
from weightspace.zoo.store import ZooWriter

__all__ = ["FORMATS", "Format", "import_zoo"]

_SHARD_BYTES = 1 << 25
_SHARD_ROWS = 4096
_TOLD = ("activation", "module", "inputs", "spec")


@dataclass(frozen=True)
class Format:
    """One way in which networks are stored.

    Args:
        read: gives the networks of a folder.
        takes: the settings that it heeds, beside ``count``; any other is an error.
    """

    read: Callable[[Request], Collection]
    takes: tuple[str, ...]


FORMATS: Mapping[str, Format] = {
    "small-cnn-zoo": Format(read_small_cnn_zoo, ("activation", "split", "final", "seed", "fractions")),
    "nfn-siren": Format(read_nfn_siren, ("activation", "split_points")),
    "dws-siren": Format(read_dws_siren, ("activation", "split", "seed")),
    "state-dicts": Format(read_state_dicts, (*_TOLD, "labels", "seed", "fractions")),
    "safetensors": Format(read_safetensors, (*_TOLD, "labels", "seed", "fractions")),
    "peft": Format(read_peft, ("labels", "seed", "fractions")),
}
"""The formats by name."""


def import_zoo(
    format: str,
    source: str | Path,
    path: str | Path,
    settings: ImportSettings = ImportSettings(),  # noqa: B008 - frozen
    *,
    template: nn.Module | None = None,
    example_inputs: Any = None,
    spec: NetworkSpec | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    r"""A zoo of networks that somebody else trained; a second call goes on where the first one stopped.

    Weights are read shard by shard and never held in full. No file is unpickled but for its tensors, and nothing
    outside of the source is opened. The manifest keeps the source's name, counts and checksums, and each row
    the digest of the file that it came from (small-cnn-zoo: the manifest that of the whole matrix).

    Args:
        format: one of :data:`FORMATS`.
        source: the folder that holds the networks.
        path: the zoo's folder.
        settings: what the format leaves open.
        template: a module of the architecture, where the format does not say what the networks compute.
        example_inputs: what the template is called with, as :func:`spec_of` takes it.
        spec: the weight space, in place of a template.
        progress: called with the number of networks that are there, and of all, after each shard.

    Raises:
        UnknownNameError: no such format.
        DataError: a setting that the format does not take, no such folder, or a zoo that would lie in its own source.
        FormatError: a source that is damaged or contradicts itself; another zoo in the folder.
        SpecError: the architecture was not told, or cannot be read.
        StorageError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> import torch
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "found").mkdir()
        >>> for name in ("a", "b", "c"):
        ...     torch.save(
        ...         nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).state_dict(), root / f"found/{name}.pt"
        ...     )
        >>> _ = (root / "found/labels.csv").write_text("file,label,split\na.pt,0,train\nb.pt,1,train\nc.pt,0,test\n")
        >>> zoo = import_zoo("state-dicts", root / "found", root / "zoo", ImportSettings(activation="relu"))
        >>> len(zoo), zoo.column("label").tolist(), zoo.split("test").tolist()
        (3, [0, 1, 0], [2])
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    given = {"template": template, "example_inputs": example_inputs, "spec": spec}
    _check_takes(format, settings, given)
    root = _folder(source, path)
    found = FORMATS[format].read(Request(root, settings, template, example_inputs, spec))
    total = found.table.num_rows
    if settings.count is not None and settings.count != total:
        raise FormatError(
            f"{root} holds {total:,} networks of this format; expected {settings.count:,}. Remedy: unpack or download "
            "it again, or give the count that is meant."
        )
    rows = max(1, min(_SHARD_ROWS, _SHARD_BYTES // (4 * max(found.spec.numel, 1))))
    manifest = Manifest(
        spec=found.spec,
        recipe=format,
        settings={**found.settings, "shard": rows},
        forward=found.forward,
        source={**found.source, **({"notes": list(found.notes)} if found.notes else {})},
        count=total,
    )
    _fill(ZooWriter(path, manifest), found, rows, progress)
    return open_zoo(path)


def _fill(writer: ZooWriter, found: Collection, rows: int, progress: Callable[[int, int], None] | None) -> None:
    """Writes the shards that are not there yet."""
    total = found.table.num_rows
    _check_same(writer, found, rows)
    for shard, first in enumerate(range(0, total, rows)):
        part = range(first, min(first + rows, total))
        if writer.rows.get(shard) != len(part):
            features, told = found.read(part)
            table = found.table.slice(first, len(part))
            for name, values in told.items():
                table = table.append_column(name, pa.array(values if isinstance(values, list) else values.numpy()))
            writer.write(shard, features, table.combine_chunks())
        if progress is not None:
            progress(part.stop, total)


def _check_same(writer: ZooWriter, found: Collection, rows: int) -> None:
    """Refuses to go on with shards that were read from other files of the same names, told by one file of each."""
    if found.digest is None:
        return
    for shard in sorted(writer.done):
        if (number := shard * rows) >= found.table.num_rows:
            continue
        before = read_shard(writer.path, shard, writer.manifest).table["sha256"][0].as_py()
        if found.digest(number) != before:
            raise FormatError(
                f"shard {shard} of {writer.path} was read from a file with sha256 {before[:16]}..., which the source "
                "holds no more. Remedy: give another folder for the networks that it holds now."
            )


def _check_takes(format: str, settings: ImportSettings, given: Mapping[str, Any]) -> None:
    """Refuses what the format would ignore."""
    takes = {*FORMATS[format].takes, "count"}
    default = ImportSettings()
    for name in (field.name for field in fields(settings)):
        if name not in takes and getattr(settings, name) != getattr(default, name):
            raise DataError(
                f"the format {format} takes no {name}; it takes {', '.join(sorted(takes))}. Remedy: leave it out."
            )
    told = [name for name, value in given.items() if value is not None]
    if told and "module" not in takes:
        raise DataError(f"the format {format} knows its architecture and takes no {told[0]}. Remedy: leave it out.")
    if given["example_inputs"] is not None and given["template"] is None:
        raise DataError(
            "example_inputs are given without the template that takes them. Remedy: give it, or leave them."
        )
    ways = [name for name in ("template", "spec") if given[name] is not None]
    ways += [name for name in ("activation", "module", "spec") if getattr(settings, name) is not None and ways]
    if len(ways) > 1:
        raise DataError(f"{' and '.join(ways)} each say what the architecture is; give one of them.")


def _folder(source: str | Path, path: str | Path) -> Path:
    """The source, without links in its path."""
    root, target = Path(source).expanduser(), Path(path).expanduser()
    if not root.is_dir():
        kind = "a file" if root.is_file() else "no folder"
        hint = "unpack the archive" if root.is_file() else "check the path"
        raise DataError(f"{source} is {kind}; expected the folder that holds the networks. Remedy: {hint} first.")
    root, target = root.resolve(), target.resolve()
    if target.is_relative_to(root):
        raise DataError(f"the zoo {path} would lie in its source {source}. Remedy: give another folder for it.")
    return root
