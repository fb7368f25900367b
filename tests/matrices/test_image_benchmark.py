"""The benchmark of image classification: sizes within budgets, symmetry of its models, its ratios, and going on."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import image

PICTURES = image.Pictures(side=8, outputs=3, reach=1, blocks=2, dropout=0.0)
FEW = ["--data", "rectangles", "--budgets", "700", "2500", "--updates", "3", "--batch", "4", "--offline"]
FEW += ["--train", "20", "--val", "9", "--test", "9", "--pool", "40", "--shrink", "4", "--seeds", "0", "1"]
FEW += ["--models", "GM-CNN, summed", "unstructured", "plain CNN"]


def curve(*points: tuple[int, float]) -> list[dict]:
    return [{"parameters": size, "test": test} for size, test in points]


@pytest.mark.parametrize("model", image.CLASSIFIERS)
def test_budgets_are_used_up_and_kept(model: str) -> None:
    width = image.widest(model, PICTURES, 2000)
    sizes = [image.size_of(image.CLASSIFIERS[model](PICTURES, width + more)) for more in (0, 1)]
    assert sizes[0] <= 2000 < sizes[1]
    assert image.CLASSIFIERS[model](PICTURES, width)(torch.randn(2, 8, 8)).shape == (2, 3)
    assert image.widest(model, PICTURES, 3) == 0


@pytest.mark.parametrize("model", image.CLASSIFIERS)
def test_what_quarter_turns_change(model: str) -> None:
    """Turns about the middle change no answer on p4 and p4m, reflections none on p4m; others change all."""
    torch.manual_seed(0)
    network, x = image.CLASSIFIERS[model](PICTURES, 3).double(), torch.randn(4, 8, 8, dtype=torch.float64)

    def change(y: torch.Tensor) -> float:
        return float((network(y) - network(x)).detach().abs().max())

    turned, mirrored = change(x.rot90(1, (1, 2))), change(x.flip(2))
    assert (turned < 1e-9) == (model in ("p4", "p4m"))
    assert (mirrored < 1e-9) == (model == "p4m")
    circular = model.startswith(("GM-CNN", "p4", "displacement"))  # Relaxed layers start exact.
    assert (change(x.roll(1, 1)) < 1e-9) == circular


def test_ratios_at_equal_accuracy() -> None:
    ours, theirs = curve((100, 0.5), (1000, 0.9)), curve((1000, 0.3), (100_000, 0.7))
    assert image.needed(theirs, 0.5) == ("", pytest.approx(10_000))
    assert image.needed(theirs, 0.2) == ("<", 1000)
    assert image.needed(theirs, 0.8) == (">", 100_000)
    assert image.ratio(ours, theirs, 0.7) == f"{100_000 / 1000**0.5 / 10**1:.2g}"
    assert image.ratio(ours, theirs, 0.5) == ">1e+02"
    assert image.ratio(theirs, ours, 0.6).startswith("0.0")
    assert image.ratio(theirs, ours, 0.2) == "?"


def test_runs_are_kept_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, fit, runs = tmp_path / "image.json", image.fit, []

    def counted(*arguments: object) -> dict:
        runs.append(arguments)
        if len(runs) == 4:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(image, "fit", counted)
    call = partial(image.main, [*FEW, "--out", str(out), "--picture", str(tmp_path / "image.png")])
    with pytest.raises(KeyboardInterrupt):
        call()
    assert len(json.loads(out.read_text())["runs"]) == 3
    found = call()["rectangles"]
    assert {model: [point["budget"] for point in points] for model, points in found.items()} == {
        "GM-CNN, summed": [700, 2500],
        "unstructured": [700, 2500],
        "plain CNN": [700, 2500],
    }
    kept = json.loads(out.read_text())["runs"]
    # Three models, two budgets: two rates with the first seed, the better one with the second.
    assert len(kept) == len(runs) - 1 == 18
    assert call()["rectangles"] == found
    assert len(runs) == 19
    assert (tmp_path / "image.png").stat().st_size > 1000
    again = tmp_path / "again.json"
    image.main([*FEW, "--out", str(again)])
    assert [run["test"] for run in json.loads(again.read_text())["runs"]] == [run["test"] for run in kept]
    with pytest.raises(SystemExit, match="other settings"):
        image.main([*FEW, "--out", str(out), "--batch", "5"])
