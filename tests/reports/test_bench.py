"""Pages of results: from records alone, whole, the same each time, and with nothing claimed beyond noise."""

from __future__ import annotations

import dataclasses
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.reports.bench_sample import choice, comparison, diverged, fill, fill_costs, record, table

from weightspace.errors import FormatError, UnknownNameError
from weightspace.experiments.bench.evidence import Evidence, read_evidence
from weightspace.experiments.bench.record import BenchRecord
from weightspace.experiments.bench.table import TRACKS, Published, Row, Table
from weightspace.reports.bench import write_pages
from weightspace.reports.bench.page import marks
from weightspace.reports.bench.style import bench_styles

HOSTILE = "</td>|\n`x` *y* {{ 7 * 7 }} <img src=x> \x00"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    results, whole = tmp_path_factory.mktemp("results"), comparison()
    fill(results, whole, (0, 1), items=120)
    fill_costs(results, whole)
    write_pages([whole], "small", results)
    return results, whole


def page(results: Path, name: str = "inr-mnist") -> str:
    return (results / "small" / name / "README.md").read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """What stands under each heading."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def lines(text: str) -> list[list[str]]:
    """The cells of all lines of tables."""
    found = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found]


def even(*gains: float) -> tuple[Table, Callable[[Path], list[BenchRecord]]]:
    """A table of errors whose rows share how hard items are, and differ by some gains."""
    whole = table([Row(f"row {k}", choice("m")) for k in range(len(gains))], measures=("mse",), higher=False)

    def write(results: Path) -> list[BenchRecord]:
        hard = np.random.default_rng(0).exponential(1.0, 300)
        records = []
        for number, (row, gain) in enumerate(zip(whole.rows, gains, strict=True)):
            for seed in range(2):
                errors = hard + gain + np.random.default_rng([number, seed]).normal(0, 0.02, 300)
                made = record(whole, row, seed, scores={"mse": float(errors.mean())})
                records.append(dataclasses.replace(made, predictions=errors.tolist(), targets=[]))
        for made in records:
            made.write(results)
        return records

    return whole, write


def files(results: Path) -> dict[str, bytes]:
    found = (path for path in results.rglob("*") if path.suffix in (".md", ".svg"))
    return {path.relative_to(results).as_posix(): path.read_bytes() for path in found}


def test_every_row_stands_on_the_page(filled: tuple[Path, Table]) -> None:
    results, whole = filled
    names = {cells[0].strip("*") for cells in lines(page(results))}
    assert {row.name for row in whole.rows} <= names
    assert whole.question in page(results)
    for word in ("5f3a9d0c1e", "train 3,000, val 600, test 120", "weightspace zoo make", "torch", "threads"):
        assert word in page(results)


def test_deleted_pages_come_back_byte_for_byte(filled: tuple[Path, Table], tmp_path: Path) -> None:
    results, whole = filled
    before = files(results)
    assert len(before) == 7
    copied = tmp_path / "elsewhere"
    shutil.copytree(results, copied)
    for name in before:
        (copied / name).unlink()
    # Records that are written in another order, and with other times of writing.
    for path in sorted(copied.rglob("*.json"), reverse=True):
        path.write_bytes(path.read_bytes())
    write_pages([whole], "small", copied)
    assert files(copied) == before


def test_tables_are_whole_whatever_stands_in_a_record(tmp_path: Path) -> None:
    row = Row(f"odd {HOSTILE}", choice("m"), published=Published(0.5, HOSTILE, HOSTILE))
    whole = table([row, Row("plain", choice("m"))])
    records = fill(tmp_path, whole, (0, 1), items=20)
    dataclasses.replace(diverged(records[0]), message=HOSTILE, zoo={"name": HOSTILE, "checksum": "a|b"}).write(tmp_path)
    write_pages([whole], "small", tmp_path)
    text = page(tmp_path)
    assert "<img" not in text
    assert "\x00" not in text
    for part in sections(text).values():
        for block in re.split(r"\n\n", part):
            assert len({len(cells) for cells in lines(block)}) <= 1
    for path in tmp_path.rglob("*.svg"):
        ElementTree.parse(path)


def test_bold_is_what_is_better_beyond_noise(tmp_path: Path) -> None:
    whole, write = even(0.05, 0.0, 0.03)
    write(tmp_path)
    write_pages([whole], "small", tmp_path)
    bold = [cells[0] for cells in lines(sections(page(tmp_path))["Weights only"]) if cells[0].startswith("**")]
    assert bold == ["**row 1**"]
    assert "†" not in sections(page(tmp_path))["Weights only"]


def test_rows_within_noise_are_marked_and_none_is_bold(tmp_path: Path) -> None:
    whole, write = even(0.0005, 0.0, 0.05)
    write(tmp_path)
    write_pages([whole], "small", tmp_path)
    part = sections(page(tmp_path))["Weights only"]
    assert "**" not in part
    assert {cells[0] for cells in lines(part) if "†" in cells[2]} == {"row 0", "row 1"}


def test_without_pairs_the_same_difference_would_not_be_bold(tmp_path: Path) -> None:
    """The rule rests on pairs: rows whose items have lost their order have the same scores, and no bold."""
    whole, write = even(0.05, 0.0)
    for number, made in enumerate(write(tmp_path)):
        mixed = np.random.default_rng(number).permutation(made.predictions).tolist()
        dataclasses.replace(made, predictions=mixed).write(tmp_path)
    evidence = read_evidence(whole, "small", tmp_path)
    assert marks(evidence, evidence.part()) == {"row 1": "level", "row 0": "level"}


def test_rows_on_other_items_are_not_compared(tmp_path: Path) -> None:
    whole, write = even(0.5, 0.0)
    for made in write(tmp_path)[:2]:
        dataclasses.replace(made, zoo={**made.zoo, "checksum": "another"}).write(tmp_path)
    evidence = read_evidence(whole, "small", tmp_path)
    assert marks(evidence, evidence.part()) == {}
    write_pages([whole], "small", tmp_path)
    data = sections(page(tmp_path))["Data"]
    assert "another" in data
    assert "Rows row 0:" in data


def test_items_that_belong_together_are_named(tmp_path: Path) -> None:
    whole = table([Row(name, choice("m")) for name in ("NP", "HNP")])
    for made in fill(tmp_path, whole, (0,), items=20):
        dataclasses.replace(made, groups=[number // 2 for number in range(20)]).write(tmp_path)
    write_pages([whole], "small", tmp_path)
    assert "items that belong together are drawn together" in page(tmp_path)
    fill(tmp_path, whole, (0,), items=20)
    write_pages([whole], "small", tmp_path)
    assert "belong together" not in page(tmp_path)


def test_tracks_never_stand_in_one_table(filled: tuple[Path, Table]) -> None:
    results, whole = filled
    found = sections(page(results))
    for track, heading in TRACKS.items():
        expected = {row.name for row in whole.rows if row.track == track and not row.study}
        shown = found.get(heading.capitalize(), "")
        assert {cells[0].strip("*") for cells in lines(shown)[2:]} == expected


def test_diverged_runs_are_shown_as_found(tmp_path: Path) -> None:
    whole = table([Row(name, choice("m")) for name in ("good", "half", "none", "missing")])
    for row in whole.rows[:3]:
        for seed in range(3):
            made = record(whole, row, seed, items=50)
            bad = row.name == "none" or (row.name == "half" and seed == 1)
            (diverged(made) if bad else made).write(tmp_path)
    write_pages([whole], "small", tmp_path)
    part = sections(page(tmp_path))["Weights only"]
    cells = {line[0].strip("*"): line[2] for line in lines(part)}
    assert "1 of 3 runs diverged" in cells["half"]
    assert cells["none"] == "diverged (3 of 3 runs)"
    assert cells["missing"] == "not run"
    assert part.count("the loss is nan at step 120") == 4


def test_one_seed_has_no_range(tmp_path: Path) -> None:
    whole = table([Row(name, choice("m")) for name in ("NP", "HNP", "GMN")])
    fill(tmp_path, whole, (0,), items=60)
    write_pages([whole], "small", tmp_path)
    scores = [cells[2] for cells in lines(sections(page(tmp_path))["Weights only"])[2:]]
    assert all(re.fullmatch(r"\**\d+\.\d %\**( †)?", score) for score in scores), scores


def test_a_table_without_records_says_so(tmp_path: Path) -> None:
    whole = comparison()
    written = write_pages([whole], "small", tmp_path)
    assert [path.name for path in written] == ["README.md", "README.md"]
    assert "Nothing has been run yet" in page(tmp_path)
    assert all(row.name in page(tmp_path) for row in whole.rows)
    index = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "no runs yet" in index
    assert "× yes" not in index


def test_answers_that_are_no_numbers_have_no_interval(tmp_path: Path) -> None:
    whole = table([Row(name, choice("m")) for name in ("NP", "HNP", "HNP, less")], measures=("tau",))
    whole = dataclasses.replace(whole, rows=(*whole.rows[:2], dataclasses.replace(whole.rows[2], study="ablation")))
    for made in fill(tmp_path, whole, (0, 1), items=40):
        if made.row == "HNP":
            dataclasses.replace(made, predictions=[None, *made.predictions[1:]], moved={"permutations": None}).write(
                tmp_path
            )
    write_pages([whole], "small", tmp_path)
    evidence = read_evidence(whole, "small", tmp_path)
    assert marks(evidence, evidence.part()) == {}
    (line,) = [cells for cells in lines(sections(page(tmp_path))["Ablations"]) if cells[0] == "HNP, less"]
    assert line[4] == "–"


def test_figures_that_have_lost_their_numbers_go(filled: tuple[Path, Table], tmp_path: Path) -> None:
    results, whole = filled
    copied = tmp_path / "results"
    shutil.copytree(results, copied)
    shutil.rmtree(copied / "small" / "inr-mnist" / "records")
    (copied / "small" / "inr-mnist" / "own.svg").write_text("<svg/>")
    write_pages([whole], "small", copied)
    assert [path.name for path in copied.rglob("*.svg")] == ["own.svg"]


def test_figures_stand_alone_and_name_every_row(filled: tuple[Path, Table]) -> None:
    results, whole = filled
    names = {row.name for row in whole.rows if not row.study}
    for name in ("scores", "robustness", "cost", "curves", "labels"):
        text = (results / "small" / "inr-mnist" / f"{name}.svg").read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        words = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
        assert "var(" not in text
        assert not re.search(r"20\d\d-\d\d", text)
        assert "#fefefe" in text  # a light ground of its own, on whatever page it stands
        if name != "labels":
            assert names <= words, names - words
    assert {"FlatMLP", "MAGEPNFN", "ScaleGMN-B"} <= words


def test_models_look_the_same_in_every_table() -> None:
    alone = bench_styles(["ScaleGMN-B", "NP"])
    among = bench_styles([row.name for row in comparison().rows])
    assert alone["NP"] == among["NP"]
    assert alone["ScaleGMN-B"] == among["ScaleGMN-B"]
    main = [row.name for row in comparison().rows if row.track == "weights" and not row.study]
    assert len({(among[name].colour, among[name].marker) for name in main}) == len(main)


def test_studies_tell_the_difference_from_the_whole(filled: tuple[Path, Table]) -> None:
    results, _ = filled
    part = {cells[0]: cells for cells in lines(sections(page(results))["Ablations"])}
    assert "(to ScaleGMN-B)" in part["ScaleGMN-B, one way"][4]
    assert re.match(r"−\d+\.\d \[[−+]\d+\.\d, [−+]\d+\.\d\] points", part["ScaleGMN-B, one way"][4])
    fewer = {cells[0]: cells[1] for cells in lines(sections(page(results))["Fewer networks to learn from"])}
    assert fewer["FlatMLP, 1% of networks"] == "30"
    assert fewer["FlatMLP"] == "3,000"


def test_an_accuracy_in_print_may_be_in_percent(tmp_path: Path) -> None:
    whole = table([Row("NP", choice("m"), published=Published(78.5, "somewhere"))])
    fill(tmp_path, whole, (0,), items=20)
    write_pages([whole], "small", tmp_path)
    assert "| 78.5 % <sup>a</sup> |" in page(tmp_path)


def test_records_of_rows_that_are_gone_are_named(tmp_path: Path) -> None:
    whole = table([Row(name, choice("m")) for name in ("kept", "gone")])
    fill(tmp_path, whole, (0,), items=20)
    write_pages([dataclasses.replace(whole, rows=whole.rows[:1])], "small", tmp_path)
    assert "left out: gone." in page(tmp_path)


def test_the_list_names_tables_whose_pages_are_not_written(tmp_path: Path) -> None:
    one, other = comparison("inr-mnist"), comparison("inr-cifar")
    for whole in (one, other):
        fill(tmp_path, dataclasses.replace(whole, rows=whole.rows[:2]), (0,), items=20)
    write_pages([one, other], "small", tmp_path)
    both = (tmp_path / "README.md").read_bytes()
    written = write_pages([other], "small", tmp_path, listed=[one, other])
    assert (tmp_path / "README.md").read_bytes() == both
    assert not any("inr-mnist" in path.as_posix() for path in written)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    whole = comparison()
    with pytest.raises(UnknownNameError, match="scale 'tiny'"):
        write_pages([whole], "tiny", tmp_path)
    folder = tmp_path / "small" / "inr-mnist"
    (folder / "records").mkdir(parents=True)
    (folder / "costs.json").write_text('{"format": "weightspace-costs", "version": 1, "rows": {"NP": {}}}')
    with pytest.raises(FormatError, match="costs"):
        write_pages([whole], "small", tmp_path)
    (folder / "records" / "np-0.json").write_text("{")
    with pytest.raises(FormatError, match="np-0"):
        write_pages([whole], "small", tmp_path)


def test_evidence_ranks_by_the_better_end(tmp_path: Path) -> None:
    whole, write = even(0.05, 0.0)
    write(tmp_path)
    evidence: Evidence = read_evidence(whole, "small", tmp_path)
    worse, better = evidence.part()
    assert [outcome.name for outcome in evidence.ranked(evidence.part())] == ["row 1", "row 0"]
    assert (evidence.sign(better, worse), evidence.sign(worse, better)) == (1, -1)
