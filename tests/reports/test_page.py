"""The page: well formed, self-contained, escaped, whole or not at all, and honest about what is missing."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from tests.conftest import Refuse

from weightspace.errors import StorageError
from weightspace.reports import DemoReport, ModelRow, render_report, write_report

from .reader import faults, read
from .sample import HOSTILE, full_report


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(full_report())


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return render_report(full_report(HOSTILE))


def test_page_is_well_formed_and_loads_nothing(page: str) -> None:
    assert faults(page) == []
    assert len(page.encode()) < 3_000_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("</section>", ""),
        ('<img class="weights" src="data:image/png;base64,', '<img class="weights" src="https://example.org/'),
        ("<h1>", '<link rel="stylesheet" href="#"><h1>'),
        ('id="pattern-1-title"', 'id="pattern-0-title"'),
        ('alt="Original', 'title="Original'),
        ("</style>", "body { background: url(x.png) }</style>"),
    ],
)
def test_reader_catches_a_damaged_page(page: str, old: str, new: str) -> None:
    assert old in page
    assert faults(page.replace(old, new, 1)) != []


def test_hostile_names_stay_words(page: str, hostile_page: str) -> None:
    assert faults(hostile_page) == []
    assert [tag for tag, _ in read(hostile_page).tags] == [tag for tag, _ in read(page).tags]
    assert 'alert("1")' in read(hostile_page).text
    assert "{{ 7 * 7 }}" in read(hostile_page).text
    assert all("alert" not in script for script in read(hostile_page).scripts[1:])


def test_unescaped_names_would_be_caught(hostile_page: str) -> None:
    assert "&lt;/script&gt;" in hostile_page
    assert faults(hostile_page.replace("&lt;", "<").replace("&gt;", ">")) != []


def test_frames_of_the_orbit_reach_the_script() -> None:
    report = full_report(HOSTILE)
    data, code = read(render_report(report)).scripts
    frames = json.loads(data)
    assert report.orbit is not None
    assert [frame["move"] for frame in frames] == list(report.orbit.moves)
    assert frames[0]["change"] == "0"
    assert frames[3]["change"] == "3.0 × 10⁻⁷"
    assert len({frame["weights"] for frame in frames}) == 4
    assert len({frame["picture"] for frame in frames}) == 1
    for name in ("orbit-frames", "orbit-first", "orbit-last", "orbit-controls"):
        assert f'id="{name}"' in render_report(report)
        assert f'"{name}"' in code


def test_first_and_last_frame_stand_without_script(page: str) -> None:
    without = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    text = read(without).text
    assert "move 0 plain" in text
    assert "move 3 plain" in text
    assert "move 1 plain" not in text
    assert re.search(r'class="controls" id="orbit-controls" hidden', without)


def test_one_frame_needs_no_slider() -> None:
    seen = read(render_report(full_report(frames=1)))
    assert seen.scripts == []
    assert "input" not in [tag for tag, _ in seen.tags]


def test_page_tells_every_number(page: str) -> None:
    text = read(page).text
    for told in (
        "10.0 %",
        "50.0 %",
        "2,000",
        "2.0 × 10⁻⁷",
        "80.0 %",
        "30.8 dB",
        "31.5 dB",
        "60 s",
        "67 %",
        "4 parameters",
    ):
        assert told in text, told
    assert "From nothing but the weights of 200 unseen networks, second plain tells the class of 50.0 %" in text
    assert "Not in this record" not in text


MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "rows": ({"rows": ()}, "the table of models"),
    "digits": ({"digits": None}, "digits rendered from weights"),
    "orbit": ({"orbit": None}, "the walk along an orbit"),
    "symmetry": ({"rows": (ModelRow("first plain", 0.1),)}, "test accuracy before and after the symmetry"),
    "patterns": ({"patterns": ()}, "the layer's tied entries"),
    "curves": ({"curves": ()}, "learning curves"),
    "confusions": ({"confusions": {}}, "confusion matrices"),
    "stages": ({"stages": {}}, "times per stage"),
    "facts": ({"facts": {}}, "settings and versions"),
}


@pytest.mark.parametrize("part", MISSING)
def test_missing_part_is_named(part: str) -> None:
    changes, words = MISSING[part]
    assert words in replace(full_report(), **changes).missing
    assert words not in full_report().missing


def test_partial_report_shows_what_there_is() -> None:
    report = replace(full_report(), digits=None, orbit=None, confusions={}, rows=(ModelRow("first plain", 0.1),))
    page = render_report(report)
    assert f"Not in this record: {'; '.join(report.missing)}." in read(page).text
    assert "No confusion matrices in this record" in read(page).text
    assert "optimisation steps" in read(page).text
    assert faults(page) == []


def test_empty_report_is_a_page() -> None:
    page = render_report(DemoReport("Nothing yet"))
    assert faults(page) == []
    assert len(DemoReport("Nothing yet").missing) == len(MISSING)
    assert "This run has measured no test accuracy yet." in read(page).text


def test_writing_replaces_the_page(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "report.html"
    assert write_report(DemoReport("First"), path) == path
    write_report(DemoReport("Second"), str(path))
    assert "Second" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_failed_write_keeps_the_old_page(tmp_path: Path, refuse: Refuse) -> None:
    path = write_report(DemoReport("Old"), tmp_path / "report.html")
    refuse("fsync", errno.ENOSPC)
    with pytest.raises(StorageError, match="disk is full"):
        write_report(DemoReport("New"), path)
    assert "Old" in path.read_text(encoding="utf-8")


def test_global_settings_stay_untouched() -> None:
    before = dict(mpl.rcParams)
    render_report(full_report())
    assert dict(mpl.rcParams) == before


def test_reports_know_neither_pyplot_nor_torch() -> None:
    code = (
        "import sys, weightspace.reports as r; r.render_report(r.DemoReport('x', rows=[r.ModelRow('m', .1, .1)])); "
        "print([name for name in ('matplotlib.pyplot', 'torch', 'weightspace.models') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
