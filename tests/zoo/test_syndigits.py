"""Digits drawn over photographs: what an image hangs on, that it shows its digit, and what is kept."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from weightspace.errors import DataError
from weightspace.zoo import Images, load_images
from weightspace.zoo import syndigits as drawing
from weightspace.zoo.sources import grey
from weightspace.zoo.syndigits import shipped_fonts, syndigits, usable

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
PLAIN = (FONTS / "DejaVuSans.ttf",)


def few(cache: Path, count: int = 12, **other: object) -> Images:
    return syndigits(count, 3, offline=True, cache=cache, **other)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return few(tmp_path_factory.mktemp("cache"))


def test_an_image_hangs_on_seed_part_and_number(drawn: Images, tmp_path: Path) -> None:
    more = few(tmp_path, 20)
    assert np.array_equal(more.train[:12], drawn.train)
    assert np.array_equal(more.labels[:12], drawn.labels)
    assert drawn.test is not None
    assert not np.array_equal(drawn.test, drawn.train[:3])
    other = few(tmp_path, seed=1)
    assert not np.array_equal(other.train, drawn.train)
    assert few(tmp_path, fonts=PLAIN).checksum != drawn.checksum


def share_shown(shift: int) -> float:
    """Share of the digits that are most like their label's glyph, of images without neighbours."""
    reference = drawing._reference().reshape(10, 24, 16)
    right = []
    for number in range(150):
        label = number % 10
        cover = drawing._cover(label, PLAIN[0], np.random.default_rng(number))
        rows, columns = np.nonzero(cover > 0.3)
        # A neighbour reaches the border.
        if columns.min() < 4 or columns.max() > 27:
            continue
        ink = drawing.Image.fromarray(
            (cover[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] * 255).astype(np.uint8)
        )
        values = np.asarray(ink.resize((16, 24)), np.float64)
        values -= values.mean()
        right.append(int((reference * values).sum((1, 2)).argmax()) == (label + shift) % 10)
    assert len(right) > 15
    return float(np.mean(right))


def test_images_show_their_label() -> None:
    assert share_shown(0) > 0.8


def test_another_label_is_caught() -> None:
    assert share_shown(1) < 0.3


def test_ink_stands_out_from_what_lies_behind() -> None:
    for number in range(50):
        chance = np.random.default_rng(number)
        ground = drawing._ground(drawing._fields(0), chance)
        colour = drawing._colour(ground, chance)
        assert abs((colour - ground.mean((0, 1))) @ [0.299, 0.587, 0.114]) >= 60
        assert ground.min() >= 0
        assert ground.max() <= 255


def test_photographs_lie_behind_where_they_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = np.full((2, 32, 32, 3), 40, np.uint8)
    found = Images(
        "cifar10",
        photographs,
        np.zeros(2, np.int64),
        "a",
        "cifar10 from a test",
        photographs + 100,
        np.zeros(2, np.int64),
    )
    monkeypatch.setattr(drawing, "load_images", lambda *_, **__: found)
    images = few(tmp_path, 4)
    assert images.name == "syndigits"
    assert "crops of cifar10 from a test" in images.note
    assert (images.train[:, 0, 0] == 40).all(1).any()
    assert images.test is not None
    assert (images.test[:, 0, 0] == 140).all(1).any()


def test_what_stands_in_is_said(drawn: Images, tmp_path: Path) -> None:
    assert drawn.name == "syndigits-on-fields"
    assert "in place of CIFAR-10" in drawn.note
    assert f"in {len(shipped_fonts())} fonts" in drawn.note
    with pytest.raises(DataError, match="is not a folder"):
        syndigits(2, 1, folder=tmp_path / "absent", cache=tmp_path)


def test_fonts_without_digits_are_left_out(tmp_path: Path) -> None:
    names = {font.name for font in shipped_fonts()}
    assert {"DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "STIXGeneral.ttf", "cmr10.ttf"} <= names
    assert not names & {
        "cmsy10.ttf",
        "cmex10.ttf",
        "LastResortHE-Regular.ttf",
        "STIXNonUni.ttf",
        "DejaVuSansDisplay.ttf",
    }
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert not usable(tmp_path / "broken.ttf")
    with pytest.raises(DataError, match="none of the fonts"):
        few(tmp_path, fonts=[FONTS / "cmsy10.ttf"])
    assert set(drawing.system_fonts()) >= set()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_set_is_kept_and_a_damaged_one_drawn_again(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = few(tmp_path)
    (file,) = (tmp_path / "syndigits").iterdir()
    content = file.read_bytes()
    draws: list[int] = []
    draw = drawing._drawn
    monkeypatch.setattr(drawing, "_drawn", lambda *given: draws.append(1) or draw(*given))
    assert few(tmp_path).checksum == first.checksum
    assert not draws
    if damage == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        file.write_bytes(
            content[:middle] if damage == "cut" else content[:middle] + b"\x01\x02" + content[middle + 2 :]
        )
    assert few(tmp_path).checksum == first.checksum
    assert draws == [1]
    assert file.read_bytes() == content


def test_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "system_fonts", lambda: PLAIN)
    monkeypatch.setattr(drawing, "COUNTS", (6, 2))
    images, dark, more = (
        load_images(name, offline=True, cache=tmp_path) for name in ("syndigits", "syndigits-gs", "syndigits-system")
    )
    assert images.train.shape == (6, 32, 32, 3)
    assert np.array_equal(dark.train, grey(images.train))
    assert dark.name == "syndigits-on-fields-gs"
    assert f"in {len(shipped_fonts()) + 1} fonts" in more.note


def test_nonsense_is_refused(tmp_path: Path) -> None:
    for given in ((0, 1, 0), (1, 0, 0), (1, 1, -1)):
        with pytest.raises(DataError, match="expected one or more"):
            syndigits(*given[:2], seed=given[2], cache=tmp_path)
