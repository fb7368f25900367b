"""Tell which digit a small network draws, from its weights alone; then disguise the networks and ask again.

Run it from any folder: `python digits_from_weights.py`. Three minutes on two cores; a second run takes seconds.
"""

import torch

from weightspace import models, zoo
from weightspace.experiments.equivalent import change_under
from weightspace.gauge import fold_phases
from weightspace.tasks import Classify
from weightspace.training import Splits, TrainSettings, train
from weightspace.weights import act, sample_element
from weightspace.zoo.generate import SirenSettings, make_siren_zoo

# One small network per handwritten digit, each from random weights of its own.
images = zoo.load_or_digits("mnist")
settings = SirenSettings(omega=15.0, steps=100, learning_rate=6e-3)
networks = make_siren_zoo(f"example/{images.name}", images, settings, count=min(2000, len(images)))
print(f"{len(networks)} networks that draw {images.name} at {networks.column('psnr').mean():.1f} dB")

# Four models that read weights, from one that knows nothing of symmetry to two that respect all of it.
task = Classify(classes=10)
data = Splits.of(networks, task).map(fold_phases)
g = sample_element(networks.spec, len(data.test), generator=torch.Generator().manual_seed(0))
disguised = act(g, data.test.features)
for Model in (models.FlatMLP, models.NP, models.MonomialNFN, models.ScaleGMN):
    torch.manual_seed(0)
    model = Model.preset("demo", networks.spec, models.Invariant(10))
    model.norm.fit(data.train.features)
    budget = TrainSettings(seconds=30.0, learning_rate=3e-3)
    folder = f"example/{images.name}-{Model.__name__}"
    record = train(model, task, data, budget, out=folder)
    change = change_under(model, data.test.features, disguised, data.test.target)
    print(f"{Model.__name__}: {record.test_score:.0%} right; {change.answers:.0%} of its answers change under disguise")
