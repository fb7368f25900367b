"""Pictures of one's own: what is read is what was saved, and what cannot be read is said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightspace.errors import DataError, ShapeError
from weightspace.zoo import load_pictures
from weightspace.zoo.generate import SirenSettings, make_siren_zoo


def save(file: Path, *shape: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return pixels


def test_one_picture(tmp_path: Path) -> None:
    pixels = save(tmp_path / "one.png", 5, 7, 3)
    images = load_pictures(tmp_path / "one.png")
    assert (images.train == pixels[None]).all()
    assert (images.name, images.labels.tolist()) == ("one", [0])
    assert load_pictures(tmp_path / "one.png", grey=True).train.shape == (1, 5, 7)


def test_folders_are_classes(tmp_path: Path) -> None:
    saved = {name: save(tmp_path / name, 4, 4, seed=i) for i, name in enumerate(["b/2.png", "a/1.png", "b/1.png"])}
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    images = load_pictures(tmp_path)
    assert images.train.shape == (3, 4, 4)
    assert images.labels.tolist() == [0, 1, 1]
    for row, name in enumerate(["a/1.png", "b/1.png", "b/2.png"]):
        assert (images.train[row] == saved[name]).all()
    assert images.checksum != load_pictures(tmp_path / "b").checksum


def test_one_colour_makes_all_coloured(tmp_path: Path) -> None:
    save(tmp_path / "colour.png", 4, 4, 3)
    grey = save(tmp_path / "grey.png", 4, 4)
    images = load_pictures(tmp_path)
    assert (images.train[1] == grey[..., None]).all()


def test_a_side_cuts_about_the_middle(tmp_path: Path) -> None:
    pixels = save(tmp_path / "wide.png", 4, 10)
    assert (load_pictures(tmp_path / "wide.png", side=4).train[0] == pixels[:, 3:7]).all()
    assert load_pictures(tmp_path / "wide.png", side=2).train.shape == (1, 2, 2)


def test_a_zoo_of_one_picture(tmp_path: Path) -> None:
    save(tmp_path / "one.png", 6, 5, 3)
    settings = SirenSettings((8,), steps=3, views=4)
    zoo = make_siren_zoo(tmp_path / "zoo", load_pictures(tmp_path / "one.png"), settings, count=4)
    assert zoo.column("view").tolist() == [0, 1, 2, 3]
    assert len(set(zoo.column("split").tolist())) == 1


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture in"):
        load_pictures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="broken.png cannot be read as a picture"):
        load_pictures(tmp_path)
    (tmp_path / "broken.png").unlink()
    content = save(tmp_path / "whole.png", 40, 40).tobytes()
    assert content
    cut = (tmp_path / "whole.png").read_bytes()[:-200]
    (tmp_path / "whole.png").write_bytes(cut)
    with pytest.raises(DataError, match="whole.png"):
        load_pictures(tmp_path)
    save(tmp_path / "whole.png", 4, 4)
    save(tmp_path / "other.png", 4, 5)
    with pytest.raises(ShapeError, match=r"other.png has 5 x 4, .*whole.png has 4 x 4.*give a side"):
        load_pictures(tmp_path)
    with pytest.raises(DataError, match="side is 0"):
        load_pictures(tmp_path / "whole.png", side=0)
