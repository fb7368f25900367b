"""How smoke plumes go on: networks on groups, exact and relaxed, beside ordinary ones, under one protocol.

Every model sees ten frames of velocity and predicts the next ones, each from those before. All are the same residual
blocks with other convolutions, trained on the same windows in the same order with as many updates; the weights that did
best on validation windows are tested once, on later frames of the tasks trained on ("future") and on tasks held out
("domain"). Reported are the root mean square error over 6 and 20 frames, parameters, seconds, and the error of
equivariance under translations of the periodic plane at the end: `max |g^-1 f(g x) - f(x)| / max |f(x)|`.

    python benchmarks/dynamics.py --out FOLDER [--kind rotation translation scale] [--breaking 1.0] [--coarsening 2]
        [--models NAME ...] [--channels 16] [--updates 300] [--seeds 0 1] [--threads 1] [--picture FILE]

The defaults suit two cores. Settings for a GPU: `--coarsening 1 --channels 64 --updates 20000 --seeds 0 1 2
--device cuda`. A run that FOLDER has already is not done again. Prints one JSON object, and to stderr a table.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from weightspace.allocator import keep_freed_memory
from weightspace.disk import write_atomic
from weightspace.experiments.bench.network import FORECASTERS, plane
from weightspace.groups import regular
from weightspace.matrices import asymmetry, roll_out
from weightspace.testing import signal_error
from weightspace.zoo import Plumes, Windows, open_plumes
from weightspace.zoo.generate import PlumeSettings, make_plumes

LONG, SHORT = 20, 6


MODELS = {name: make for name, make in FORECASTERS.items() if name != "persistence, damped"}


def signals(frames: Tensor) -> Tensor:
    """Frames `(batch, time, features, height, width)` as `(batch, order, time * features)`."""
    return frames.flatten(3).permute(0, 3, 1, 2).flatten(2)


def batch_of(windows: Windows, rows: list[int], device: str) -> tuple[Tensor, Tensor]:
    past, following = windows.batch(rows)
    return signals(past).to(device), following.flatten(3).transpose(2, 3).to(device)


@torch.no_grad()
def rmse(model: nn.Module, windows: Windows, outputs: tuple[int, ...], device: str, most: int) -> dict[int, float]:
    """Root mean square error over the first so many frames, of windows spread evenly over a part."""
    rows = torch.linspace(0, len(windows) - 1, min(most, len(windows))).round().long().tolist()
    total = torch.zeros(max(outputs), dtype=torch.float64)
    for start in range(0, len(rows), 32):
        x, y = batch_of(windows, rows[start : start + 32], device)
        total += (roll_out(model, x, y.shape[1]) - y).double().square().mean((2, 3)).sum(0).cpu()
    return {count: float((total[:count].mean() / len(rows)).sqrt()) for count in outputs}


def trained(model: nn.Module, plumes: Plumes, arguments: argparse.Namespace, seed: int) -> dict[str, object]:
    """Train, keep what did best on validation windows, and say how long it took."""
    windows, valid = plumes.windows("train", outputs=SHORT), plumes.windows("valid", outputs=SHORT)
    optimiser = torch.optim.AdamW(model.parameters(), arguments.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, arguments.rate, total_steps=arguments.updates)
    generator = torch.Generator().manual_seed(seed)
    best, kept, start, curve = float("inf"), model.state_dict(), time.perf_counter(), []
    for update in range(1, arguments.updates + 1):
        rows = torch.randint(len(windows), (arguments.batch,), generator=generator).tolist()
        x, y = batch_of(windows, rows, arguments.device)
        loss = (roll_out(model, x, SHORT) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if update % arguments.check == 0 or update == arguments.updates:
            found = rmse(model, valid, (SHORT,), arguments.device, 256)[SHORT]
            curve.append([update, round(found, 5)])
            if found < best:
                best, kept = found, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return {"valid": curve, "seconds": round(time.perf_counter() - start, 1)}


def run(name: str, plumes: Plumes, arguments: argparse.Namespace, seed: int) -> dict[str, object]:
    torch.manual_seed(seed)
    side = plumes.manifest.shape[-1]
    group = plane(side)
    model = MODELS[name](group, arguments.channels).to(arguments.device)
    record: dict[str, object] = {"parameters": sum(p.numel() for p in model.parameters())}
    if record["parameters"]:
        record |= trained(model, plumes, arguments, seed)
        record["asymmetry"] = {layer: round(share, 4) for layer, share in asymmetry(model).items()}
    for part in ("future", "domain"):
        record[part] = rmse(model, plumes.windows(part, outputs=LONG), (SHORT, LONG), arguments.device, 10**6)
    x, _ = batch_of(plumes.windows("valid", outputs=SHORT), [0, 1], "cpu")
    record["equivariance_error"] = signal_error(model.cpu().double(), x.double(), regular(group), regular(group))
    return record


def plumes_of(kind: str, breaking: float, arguments: argparse.Namespace) -> Plumes:
    settings = PlumeSettings(kind=kind, breaking=breaking, coarsening=arguments.coarsening)
    path = arguments.out / f"{kind}-{settings.breaking:g}-{settings.side}"
    make_plumes(path, settings)
    return open_plumes(path)


def study(arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    """Results by set, model and seed."""
    names = ("coarsening", "channels", "updates", "batch", "rate", "check")
    settings = [getattr(arguments, name) for name in names]
    results: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for kind in arguments.kind:
        for breaking in arguments.breaking:
            plumes = plumes_of(kind, breaking, arguments)
            for name in arguments.models:
                for seed in arguments.seeds if name != "persistence" else [0]:
                    key = f"{kind}, breaking {breaking:g}"
                    file = arguments.out / f"{key} {name} {seed} {settings}.json"
                    if not file.exists():
                        write_atomic(file, json.dumps(run(name, plumes, arguments, seed)).encode())
                    results.setdefault(key, {}).setdefault(name, {})[str(seed)] = json.loads(file.read_text())
                tell(key, name, list(results[key][name].values()))
    return results


def tell(key: str, name: str, runs: list[dict]) -> None:
    """A row of a table: medians over seeds."""
    errors = [median(r[part][str(n)] for r in runs) for part in ("future", "domain") for n in (SHORT, LONG)]
    cells = [f"{value:.4f}" for value in errors]
    seconds = median(r.get("seconds", 0) for r in runs)
    error = median(r["equivariance_error"] for r in runs)
    print(
        f"| {key} | {name} | {runs[0]['parameters']:,} | {' | '.join(cells)} | {error:.1e} | {seconds:.0f} |",
        file=sys.stderr,
        flush=True,
    )


def draw(results: dict, file: Path) -> None:
    """One panel per part, one kind of points per model beside the sets."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    sets = list(results)
    names = list(dict.fromkeys(name for models in results.values() for name in models))
    for panel, part in zip(panels, ("future", "domain"), strict=True):
        for name in names:
            drawn = [[r[part][str(LONG)] for r in results[key].get(name, {}).values()] for key in sets]
            panel.plot(sets, [median(d) if d else float("nan") for d in drawn], "o", label=name, alpha=0.8)
        panel.set(title=f"{part}, {LONG} frames")
        panel.tick_params(axis="x", rotation=15)
    panels[0].set(ylabel="root mean square error")
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=90)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", nargs="+", default=["rotation", "translation", "scale"])
    parser.add_argument("--breaking", type=float, nargs="+", default=[1.0])
    parser.add_argument("--coarsening", type=int, default=2)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--check", type=int, default=50, help="updates between looks at the validation windows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--picture", type=Path)
    return parser


if __name__ == "__main__":
    chosen = options().parse_args()
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found = study(chosen)
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(chosen).items()}
    if chosen.picture is not None:
        draw(found, chosen.picture)
    print(json.dumps({"settings": plain, "torch": torch.__version__, "results": found}, indent=1))
