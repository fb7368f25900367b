"""``weightspace same``: are networks one network written several times?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from torch import Tensor

from weightspace.cli.note import print_notes
from weightspace.errors import FormatError, SpecError
from weightspace.gauge import families
from weightspace.gauge import same as compare
from weightspace.gauge.same import rounding
from weightspace.spec import Factor, NetworkSpec
from weightspace.spec.difference import difference
from weightspace.weights import Element, WeightFeatures
from weightspace.weights.source import Reading, Source, read_sources
from weightspace.weights.source.file import PROGRAMS, STATES
from weightspace.zoo import open_zoo
from weightspace.zoo.format import MANIFEST_FILE

__all__ = ["same"]


def same(
    first: str,
    second: str | None = None,
    /,
    *,
    tolerance: float | None = None,
    reading: Annotated[Reading, Parameter(name="*")] = Reading(),  # noqa: B008 - frozen
) -> int:
    """Say whether two networks, or all networks of a folder, are equal up to their symmetries.

    Exit code 0 means that all are the same, 1 that there are differences. Nothing in a file is run; a factory is code,
    and runs.

    Args:
        first: a network, as a file with weights (.safetensors, .pt, .pth, .bin, .ckpt), an exported program (.pt2) or
            package.module:factory; or, alone, a folder of such files, or a zoo.
        second: another network.
        tolerance: the largest relative difference of weights that counts as rounding; by default 2e-5 for single and
            4e-11 for double precision.
        reading: how a file becomes a network.
    """
    if second is None:
        folder = Path(first)
        if not folder.is_dir():
            raise FormatError(f"{first} is no folder; give a second network to compare it with, or a folder.")
        whole = _same_zoo if (folder / MANIFEST_FILE).exists() else _same_files
        return whole(folder, tolerance, reading)
    a, b = read_sources((first, second), reading)
    return _same_pair(a, b, tolerance)


def _same_pair(a: Source, b: Source, tolerance: float | None) -> int:
    specs = [source.spec() for source in (a, b)]
    print_notes([*specs[0].notes, *specs[1].notes])
    apart = difference(specs[0], specs[1]) or _rest_apart(specs[0], a, b)
    if apart:
        print(f"no: {apart}")
        return 1
    found = compare(a.features(specs[0]), b.features(specs[1]), tolerance)
    if not found:
        print(f"no: different networks, at distance {found.distance:.2g}")
        return 1
    print(f"yes: one network written twice, to {found.distance:.1e}")
    if found.element is not None:
        print(_moves(found.element))
    return 0


def _rest_apart(spec: NetworkSpec, a: Source, b: Source) -> str:
    """The first difference in what the spec does not cover, which no symmetry moves; empty where there is none."""
    rest = (a.rest(spec), b.rest(spec))
    for key, tensor in rest[0].items():
        if key not in rest[1] or not torch.equal(tensor, rest[1][key]):
            return f"{key!r}, which no symmetry moves, differs"
    return ""


def _moves(element: Element) -> str:
    """How many units an element moves, and how far it scales them."""
    moved = units = turned = 0
    scales: list[Tensor] = []
    for axis in element.axes:
        part = element.parts[axis.name]
        moved += int((part.perm != torch.arange(axis.size, device=part.perm.device)).sum())
        units += part.perm.numel()
        for number, factor in enumerate(axis.symmetry.factors):
            scale = part.scale[:, number].flatten()
            if factor is Factor.SIGN:
                turned += int((scale < 0).sum())
            else:
                scales.append(scale)
    told = f"{moved} of {units} units moved"
    if scales:
        every = torch.cat(scales)
        told += f", scales from {every.min().item():.3g} to {every.max().item():.3g}"
    return f"{told}, {turned} signs turned" if turned else told


def _same_files(folder: Path, tolerance: float | None, reading: Reading) -> int:
    """All network files of a folder, compared within each weight space."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (*STATES, *PROGRAMS) and path.is_file())
    if not files:
        raise FormatError(f"{folder} holds no networks; expected files ending in {', '.join((*STATES, *PROGRAMS))}.")
    sources = read_sources(files, reading)
    spaces: list[_Space] = []
    for source, spec in zip(sources, _specs(sources), strict=True):
        space = next((space for space in spaces if space.holds(source, spec)), None)
        if space is None:
            spaces.append(_Space(spec, [source]))
        else:
            space.sources.append(source)
    print_notes(note for space in spaces for note in space.spec.notes)
    return _tell([names for space in spaces for names in space.families(tolerance)])


@dataclass(frozen=True)
class _Space:
    """Networks of one weight space that also agree in all that no symmetry moves."""

    spec: NetworkSpec
    sources: list[Source]

    def holds(self, source: Source, spec: NetworkSpec) -> bool:
        return spec == self.spec and not _rest_apart(spec, self.sources[0], source)

    def families(self, tolerance: float | None) -> list[list[str]]:
        parts = [source.features(self.spec, finite=False) for source in self.sources]  # what diverged equals none
        tolerance = rounding(tolerance, *parts)
        names = [Path(source.name).name for source in self.sources]
        wide = [part.to(torch.float64) for part in parts]
        return [[names[row] for row in rows] for rows in families(WeightFeatures.cat(wide), tolerance)]


def _specs(sources: Sequence[Source]) -> Iterator[NetworkSpec]:
    """The spec of each; state dicts of equal shapes are read alike, so one of them is read for all."""
    known: dict[tuple[tuple[str, torch.Size], ...], NetworkSpec] = {}
    for source in sources:
        shapes = tuple((key, tensor.shape) for key, tensor in source.state.items())
        if source.program is not None:
            yield source.spec()
            continue
        if shapes not in known:
            known[shapes] = source.spec()
        yield known[shapes]


def _same_zoo(folder: Path, tolerance: float | None, reading: Reading) -> int:
    if reading != Reading():
        raise SpecError(
            f"{folder} is a zoo, which says itself how it is read; leave module, activation and inputs out."
        )
    zoo = open_zoo(folder)
    names = [f"network {number}" for number in zoo.column("number")]
    return _tell([[names[row] for row in rows] for rows in families(zoo.features(), tolerance)] if names else [])


def _tell(groups: Sequence[Sequence[str]]) -> int:
    """Print the groups of equal networks; 0 where there is but one."""
    several = [names for names in groups if len(names) > 1]
    for names in several:
        print(" = ".join(names))
    count, alone = sum(map(len, groups)), len(groups) - len(several)
    print(f"networks: {count:,}; groups of equal ones: {len(several):,}; equal to no other: {alone:,}")
    return int(len(groups) > 1)
