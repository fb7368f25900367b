"""`weightspace demo edit`, small, on the digits that need no download, with a photo that is drawn here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import Program

from weightspace.cli import edit as verb
from weightspace.cli.main import main
from weightspace.experiments.editing import EditingSettings, run_editing, tiled, untiled
from weightspace.zoo import load_pictures

WORDS = ("demo", "edit", "--data", "digits", "--count", "30", "--fit-steps", "10", "--steps", "20", "--batch", "8")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colours that rise to the right and downwards, wider than high."""
    path = tmp_path_factory.mktemp("photo") / "ramp.png"
    rows, columns = np.mgrid[0:30, 0:40]
    Image.fromarray(np.stack([6 * columns, 8 * rows, 3 * (rows + columns)], -1).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """A demo that has finished."""
    out = tmp_path_factory.mktemp("editing")
    assert main([*WORDS, "--photo", str(photo), "--side", "20", "--out", str(out)]) == 0
    return out / "digits-dilate-30"


def test_the_picture_and_the_record_are_there(home: Path) -> None:
    with Image.open(home / "editing.png") as picture:
        picture.load()
        assert picture.size[0] == 900
    record = json.loads((home / "editing.json").read_text())
    assert (record["format"], record["change"], record["run"]["model"]) == ("weightspace-editing", "dilate", "ScaleGMN")
    assert sum(record["zoo"]["networks"].values()) == 30
    test, shown = record["test"], record["photo"]
    assert test["networks"] == record["zoo"]["networks"]["test"]
    # Twenty pixels are two whole tiles of eight along a side.
    assert shown["networks"] == 4
    assert 0 < test["mse"] < test["unedited mse"]
    assert shown["name"].endswith("ramp.png")


def test_a_finished_demo_edits_another_photo_without_new_training(run: Program, home: Path, photo: Path) -> None:
    before = json.loads((home / "editing.json").read_text())
    again = run(*WORDS, "--photo", photo, "--side", 20, "--out", home.parent)
    assert again.code == 0
    assert again.err == "" or "Training" not in again.err
    assert json.loads((home / "editing.json").read_text()) == before
    other = run(*WORDS, "--photo", photo, "--side", 24, "--out", home.parent)
    assert "Fitting the photo" in other.err
    assert "Training" not in other.err
    found = json.loads((home / "editing.json").read_text())
    assert found["photo"]["networks"] == 9
    assert found["test"] == before["test"]
    assert "the photo" in other.out
    assert "unseen digits" in other.out


def test_the_photo_is_put_together_as_it_was(home: Path, photo: Path) -> None:
    settings = EditingSettings(
        photo, side=20, data="digits", count=30, fit_steps=10, steps=20, batch=8, out=home.parent
    )
    record, _ = run_editing(settings)
    original = load_pictures(photo, grey=True, side=20).train[0, :16, :16] / 255
    assert record.picture is not None
    assert record.picture.before.shape == (16, 16)
    # Few steps of fitting, and yet each tile is nearest to its own place.
    tiles, drawn = tiled(original, 8, 8), tiled(record.picture.before, 8, 8)
    apart = np.abs(tiles[:, None] - drawn[None]).mean((2, 3))
    assert apart.argmin(1).tolist() == [0, 1, 2, 3]


def test_tiles_go_back_into_their_places() -> None:
    picture = np.arange(7 * 13 * 3).reshape(7, 13, 3)
    tiles = tiled(picture, 3, 4)
    assert tiles.shape == (6, 3, 4, 3)
    assert np.array_equal(untiled(tiles, 3), picture[:6, :12])
    assert not np.array_equal(untiled(tiles, 2).reshape(-1), picture[:6, :12].reshape(-1))


def test_an_interrupted_demo_goes_on(run: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*WORDS, "--model", "MonomialNFN", "--out", tmp_path)

    def interrupt(stage: str, *_: object) -> None:
        if stage == "Training":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verb, "run_editing", lambda settings, _: run_editing(settings, interrupt))
        assert run(*words).code == 130
    resumed = run(*words)
    assert resumed.code == 0
    assert json.loads((tmp_path / "digits-dilate-30" / "editing.json").read_text())["photo"] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--photo", "no/such.jpg"), "there is no picture in no/such.jpg"),
        (("--photo", __file__), "cannot be read as a picture"),
        (("--change", "contrst"), 'did you mean "contrast"'),
        (("--model", "ScaleGNM"), 'did you mean "ScaleGMN"'),
        (("--count", "0"), "count is 0"),
        (("--steps", "0"), "steps is 0"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(
    run: Program, tmp_path: Path, words: tuple[str, str], told: str
) -> None:
    found = run("demo", "edit", "--data", "digits", "--out", tmp_path / "out", *words)
    assert found.code == 2
    assert told in found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "out").exists()


def test_a_photo_smaller_than_a_tile_is_refused(run: Program, home: Path, photo: Path) -> None:
    found = run(*WORDS, "--photo", photo, "--side", 5, "--out", home.parent)
    assert found.code == 2
    assert "side is 5; expected at least one tile of 8 x 8 pixels" in found.err
