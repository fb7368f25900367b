"""Watchers: what TensorBoard would show, a table, others' loggers; across sittings no step counts twice."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from weightspace.errors import TrainingError, UnknownNameError
from weightspace.training.watch import CsvCurves, TensorBoardCurves, Watched, Watcher, watchers


def events(path: Path) -> list[Event]:
    """The events of a file: each an eight byte length, its check sum, the message, and its check sum."""
    content, found, at = path.read_bytes(), [], 0
    while at < len(content):
        length, check = struct.unpack_from("<QI", content, at)
        assert check == masked_crc32c(content[at : at + 8])
        assert struct.unpack_from("<I", content, at + 12 + length) == (masked_crc32c(content[at + 12 :][:length]),)
        found.append(Event.FromString(content[at + 12 : at + 12 + length]))
        at += 16 + length
    return found


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves as TensorBoard shows them: where a sitting starts anew, what was said of later steps is dropped."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name):
        for event in events(path):
            if event.session_log.status == SessionLog.SessionStatus.START:
                curves = {tag: [p for p in points if p[0] < event.step] for tag, points in curves.items()}
            for value in event.summary.value:
                if not value.HasField("tensor"):
                    curves.setdefault(value.tag, []).append((event.step, round(value.simple_value, 6)))
    return curves


def sitting(watcher: Watcher, *points: tuple[int, float]) -> None:
    for step, loss in points:
        watcher.log_metrics({"train_loss": loss}, step)


def test_event_files_hold_the_curves_and_the_settings(tmp_path: Path) -> None:
    (watcher,) = watchers(["tensorboard"], tmp_path)
    watcher.log_hyperparams({"settings": {"seed": 3}})
    sitting(watcher, (1, 0.5), (2, 0.25))
    folder = tmp_path / "curves"
    assert shown(folder) == {"train_loss": [(1, 0.5), (2, 0.25)]}, "points are on the disk while the run goes on"
    watcher.finalize("finished")
    texts = [v.tensor.string_val[0].decode() for e in events(next(folder.iterdir())) for v in e.summary.value
             if v.HasField("tensor")]  # fmt: skip
    assert "| settings.seed | 3 |" in texts[0]


def test_a_sitting_that_goes_on_takes_back_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    first = TensorBoardCurves(tmp_path)
    sitting(first, (10, 0.5), (20, 0.4), (30, 9.0))
    second = TensorBoardCurves(tmp_path, step=20)
    sitting(second, (30, 0.3), (40, 0.2))
    second.finalize("finished")
    first.finalize("interrupted")
    assert shown(tmp_path) == {"train_loss": [(10, 0.5), (20, 0.4), (30, 0.3), (40, 0.2)]}


def test_without_the_mark_steps_would_stand_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = TensorBoardCurves(tmp_path)
    sitting(first, (10, 0.5), (20, 0.4))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))  # the folder looks empty, so nothing is marked
    second = TensorBoardCurves(tmp_path, step=10)
    sitting(second, (20, 0.4))
    monkeypatch.undo()
    assert [step for step, _ in shown(tmp_path)["train_loss"]].count(20) == 2


def test_a_table_drops_later_rows_and_takes_late_columns(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    sitting(CsvCurves(path), (10, 0.5), (20, 9.0))
    again = CsvCurves(path, step=10)
    again.log_metrics({"train_loss": 0.25, "validation_score": 1.0}, 20)
    assert path.read_text() == "step,train_loss,validation_score\n10,0.5,\n20,0.25,1.0\n"


def test_a_file_that_is_no_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("my shopping list\nbread\n")
    with pytest.raises(TrainingError, match="move it away"):
        CsvCurves(path)
    assert path.read_text().endswith("bread\n")


def test_loggers_of_lightning_are_watchers(tmp_path: Path) -> None:
    (watcher,) = watchers(["lightning_fabric.loggers:CSVLogger"], tmp_path)
    sitting(watcher, (1, 0.5))
    watcher.finalize("finished")
    assert "0.5" in next((tmp_path / "curves").rglob("metrics.csv")).read_text()


def test_what_cannot_watch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='did you mean "csv"'):
        watchers(["cvs"], tmp_path)
    with pytest.raises(TrainingError, match="gave a str"):
        watchers(["builtins:str"], tmp_path)
    with pytest.raises(TrainingError, match="function of one argument"):
        watchers(["builtins:int"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_watcher_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    class Broken:
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            raise ConnectionError("the server is gone")

        def log_hyperparams(self, params: object) -> None: ...

        def finalize(self, status: str) -> None: ...

    told: list[str] = []
    watched = Watched([Broken(), CsvCurves(tmp_path / "c.csv")], told.append)
    for step in (1, 2):
        watched.log_metrics({"train_loss": 0.5, "validation_score": None}, step)
    watched.finalize("finished")
    assert told == ["Broken failed and watches no more: ConnectionError: the server is gone"]
    assert (tmp_path / "c.csv").read_text() == "step,train_loss\n1,0.5\n2,0.5\n"
