"""SIRENs of the neural functionals' data sets: one file per image, its class in the folder's name.

.. code-block:: text

    randinit_smaller_3s/net17.pth         image 17, of class 3
    randinit_smaller_aug4_3s/net17.pth    the same image fitted again from other random weights

References:
    Zhou et al., *Permutation Equivariant Neural Functionals*, 2023, and its published programs.
"""

import re
from typing import Any

import numpy as np
import pyarrow as pa

from weightspace.errors import FormatError
from weightspace.weights.source.file import read_state
from weightspace.zoo.readers.architecture import chain_of
from weightspace.zoo.readers.collection import Collection, Request
from weightspace.zoo.readers.file import Files
from weightspace.zoo.readers.table import check_lineage
from weightspace.zoo.readers.tree import listing, walk

__all__ = ["read_nfn_siren"]

_PATH = re.compile(r"(?:.*/)?(?P<prefix>[^/]*?)_(?:aug(?P<view>\d+)_)?(?P<label>\d+)s/net(?P<image>\d+)\.pth")
_ACTIVATION = "sine:omega=30"


def read_nfn_siren(request: Request) -> Collection:
    """A folder of such folders.

    Images below the first of ``split_points`` are train, those below the second val, the others test, as published; all
    networks of one image lie in one split.

    Args:
        request: its settings ``activation`` (of other frequencies), ``split_points`` and ``count`` count.

    Raises:
        FormatError: no such files, a file under another name, or an image that is there twice.
        SpecError: networks that are no chain of layers.
    """
    root, settings = request.root, request.settings
    names = walk(root, (".pth",))
    if not names:
        raise FormatError(f"{root} holds no networks; expected files such as randinit_smaller_3s/net17.pth.")
    columns = _columns(root, names)
    # By image, so that shards hold networks of all classes.
    order = np.lexsort((columns["view"], columns["image"]))
    names = [names[row] for row in order]
    columns = {name: values[order] for name, values in columns.items()}
    image = columns["image"]
    splits = np.array(("train", "val", "test"))[np.searchsorted(settings.split_points, image, side="right")]
    check_lineage(image, splits, "split_points")
    first = root / names[0]
    architecture, notes = chain_of(read_state(first), settings.activation or _ACTIVATION, first)
    files = Files(root, names, architecture)
    table = {
        "number": np.arange(len(names)),
        "network": image,
        **columns,
        "split": pa.array(splits.tolist(), pa.string()),
    }
    return Collection(
        spec=architecture.spec,
        table=pa.table(table),
        read=files.read,
        digest=files.digest_of,
        settings={"template": architecture.record, "split_points": settings.split_points},
        forward={
            "layers": f"{settings.activation or _ACTIVATION} of W x + b, the last one W x + b",
            "coordinates": "row, column",
            "coordinate_range": [-1.0, 1.0],
            "output_offset": 0.0,
            "colour_range": [-1.0, 1.0],
        },
        source=listing(root, names),
        notes=notes,
    )


def _columns(root: Any, names: list[str]) -> dict[str, Any]:
    """What the names say: image, class, and which of its fits, 0 for the one that is no augmentation."""
    found = []
    seen: dict[tuple[int, int], str] = {}
    labels: dict[int, tuple[int, str]] = {}
    for name in names:
        match = _PATH.fullmatch(name)
        if match is None:
            raise FormatError(
                f"{root / name} has another name than the networks of this format; expected one such as "
                "randinit_smaller_3s/net17.pth, or randinit_smaller_aug4_3s/net17.pth. Remedy: take it out."
            )
        image, label = int(match["image"]), int(match["label"])
        view = 0 if match["view"] is None else int(match["view"]) + 1
        other = seen.setdefault((image, view), name)
        if other != name:
            raise FormatError(
                f"{root}: {other} and {name} are both of image {image}. Remedy: import one set at a time."
            )
        known, where = labels.setdefault(image, (label, name))
        if known != label:
            raise FormatError(f"{root}: image {image} is of class {known} in {where} and {label} in {name}.")
        found.append((image, label, view))
    image, label, view = np.array(found, np.int64).T
    return {"image": image, "label": label, "view": view}
