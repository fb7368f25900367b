"""A small table on real networks."""

from pathlib import Path

import pytest

from weightspace.experiments.bench.schedule import Places
from weightspace.experiments.bench.subject import Networks
from weightspace.experiments.bench.table import Move, Row, Table
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import ModelChoice
from weightspace.training import TrainSettings
from weightspace.zoo.generate import SirenSettings

RECIPE = ZooRecipe("digits", SirenSettings(hidden=(6, 6), omega=10.0, steps=5), 60, "digits")
SMALL = ModelChoice("MonomialNFN", options={"stem": [4], "trunk": [4]})


def table(**changes: object) -> Table:
    """A comparison of two models that takes a second."""
    data = Networks(RECIPE, "class", moves=(Move("permutations and signs"),))
    settings: dict[str, object] = {
        "name": "tiny",
        "title": "Tiny",
        "question": "Which digit?",
        "measures": ("accuracy", "nll"),
        "higher": True,
        "data": {"small": data},
        "training": {"small": TrainSettings(steps=4, batch=8)},
        "rows": (Row("FlatMLP", ModelChoice("FlatMLP", options={"hidden": 8})), Row("MonomialNFN", SMALL)),
        "rates": (1e-3, 1e-2),
        "seeds": (0, 1),
    }
    return Table(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the zoo of the small table."""
    folder = tmp_path_factory.mktemp("bench")
    RECIPE.make(folder / "zoos")
    return folder


@pytest.fixture
def places(home: Path, tmp_path: Path) -> Places:
    """Places of a run of its own on that zoo."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "zoos").symlink_to(home / "zoos")
    return Places(tmp_path / "home", tmp_path / "results", "small")
