"""Real networks in seconds, without a download: which digit does each hold, told from its weights by three models.

Run it from any folder: `python zoo_of_digits.py`. Two minutes on one core; the zoo is kept in the cache.
"""

import torch

from weightspace import models, zoo
from weightspace.gauge import fold_phases
from weightspace.tasks import Classify
from weightspace.training import Splits, TrainSettings, train

STEPS = 1000

networks = zoo.digits_zoo()
print(f"{networks} at {networks.column('psnr').mean():.1f} dB")

task = Classify(classes=10)
data = Splits.of(networks, task).map(fold_phases)
for Model in (models.FlatMLP, models.NP, models.ScaleGMN):
    torch.manual_seed(0)
    model = Model.preset("demo", networks.spec, models.Invariant(10))
    model.norm.fit(data.train.features)
    settings = TrainSettings(steps=STEPS, learning_rate=3e-3)
    record = train(model, task, data, settings, out=f"digits/{Model.__name__}")
    print(f"{Model.__name__}: {record.test_score:.0%} of {len(data.test)} unseen networks right")
