"""A sweep with Optuna over the typed settings of a run: learning rate, weight decay, and the width of the model.

    pip install optuna
    python examples/sweep.py ZOO --trials 20

Every trial is a run of its own in `sweep/`, chosen by validation; those that fall behind the median are stopped early.
The study is a file, so that several processes, or jobs of a cluster, work on it together.
"""

import argparse
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from weightspace.experiments import ModelChoice, task_for, train_on
from weightspace.training import Pace, TrainSettings
from weightspace.zoo import open_zoo


def objective(trial: optuna.Trial, zoo: Path, target: str, steps: int, out: Path) -> float:
    """The validation score of one trial; the test score stays in its record and chooses nothing."""
    settings = TrainSettings(
        steps=steps,
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 3e-2, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-3, 1.0, log=True),
    )
    choice = ModelChoice("ScaleGMN", options={"channels": trial.suggest_categorical("channels", [8, 16, 32])})

    def progress(pace: Pace) -> None:
        if pace.score is not None:
            trial.report(pace.score, pace.step)
            if trial.should_prune():
                raise optuna.TrialPruned  # the run stays unfinished; what it had reached is in its checkpoint

    networks = open_zoo(zoo)
    folder = out / f"{trial.number:03d}"
    record = train_on(networks, choice, task_for(networks, target), settings, out=folder, progress=progress)
    return record.validation_score or 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--target", default="label")
    parser.add_argument("--trials", type=int, default=20, help="trials of this process")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("sweep"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(given.out / "study.log"))),
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        load_if_exists=True,
    )
    study.optimize(lambda trial: objective(trial, given.zoo, given.target, given.steps, given.out), given.trials)
    print(
        f"{len(study.trials)} trials; best validation score {study.best_value:.3f} in trial {study.best_trial.number}"
    )
    print(study.best_params)
