"""The multilayer perceptrons that Monomial-NFN and its ancestor compare with end in a sigmoid, ahead of cross-entropy.

Numbers between 0 and 1 go where logits belong, so that even the best answer has a loss far from zero.
"""

import torch

from weightspace.tasks import Classify

task, target = Classify(classes=10), torch.arange(10)
best = 100 * (2 * torch.eye(10, dtype=torch.float64) - 1)  # logits: certain, and right
published = float(task.loss(torch.sigmoid(best), target))
right = float(task.loss(best, target))
assert published > 1.46
assert right < 1e-12
print(f"through a sigmoid: a loss of {published:.3f} at least; logits: 0.000")
