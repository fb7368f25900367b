"""A small report with every part, made of plain arrays."""

from __future__ import annotations

import numpy as np

from weightspace.reports import Curve, DemoReport, DigitGallery, ModelRow, Orbit, Pattern, confusion_matrix

HOSTILE = "</script><script>alert(\"1\")</script><img src=x onerror='a'> {{ 7 * 7 }} $\\frac{ & \x00 \ud800 ü 数"


def pattern(title: str = "tied") -> Pattern:
    """Two blocks each way, with zeros, ties and a minus sign."""
    matrix = np.array([[1, 2, 0], [2, 1, -3], [0, 0, 4]])
    return Pattern(title, matrix, (("a", 2), ("b", 1)), (("c", 2), ("d", 1)))


def full_report(text: str = "plain", frames: int = 4) -> DemoReport:
    """Every part is present, and ``text`` stands wherever a name can stand."""
    rng = np.random.default_rng(0)
    models = [f"first {text}", f"second {text}"]
    classes = [f"{number} {text}" for number in range(3)]
    weights = np.stack([np.roll(np.arange(20.0).reshape(4, 5) - 9, k, axis=0) for k in range(frames)])
    pictures = rng.random((2, 6, 6))
    curve = ([0, 5, 10], [0.0, 0.5, 1.0], [2.3, 2.0, 1.0], [None, 0.2, 0.4])
    return DemoReport(
        title=f"title {text}",
        rows=[ModelRow(models[0], 0.1, 0.05, 100, 3.0, 0.9, 0.8), ModelRow(models[1], 0.5, 0.5, 2000, 3.0, 2e-7, 0.0)],
        tested=200,
        classes=classes,
        digits=DigitGallery(pictures, 1 - pictures, [f"a {text}", f"b {text}"], [30.0, 31.5], mean_psnr=30.75),
        curves=[Curve(model, *curve) for model in models],
        confusions={model: confusion_matrix([0, 1, 2, 2], [0, 1, 2, 0], 3) for model in models},
        patterns=[pattern(f"signs {text}"), pattern(f"no signs {text}")],
        orbit=Orbit(
            weights=weights,
            images=np.repeat(pictures[:1], frames, axis=0),
            moves=[f"move {k} {text}" for k in range(frames)],
            pixel_change=[k * 1e-7 for k in range(frames)],
            name=f"W2 {text}",
        ),
        stages={f"fit {text}": 60.0, f"train {text}": 30.0},
        facts={f"Settings {text}": {f"seed {text}": f"0 {text}"}},
        notes=[f"note {text}"],
    )
