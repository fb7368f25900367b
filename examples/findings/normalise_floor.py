"""A number that is added to a norm, or put under it as a floor, is a scale that the features are not blind to.

Monomial-NFN divides by `max(norm, 1e-12)`, ScaleGMN by `norm + 1e-10`.
"""

from torch import nn

from weightspace.layers import canonical
from weightspace.spec import Factor, spec_of
from weightspace.testing import invariance_error

spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))


def pooled(normalise):
    def invariant(x):
        weights = normalise(x["0.weight"]).square()
        return weights[..., 0].sum((1, 2))

    return invariant


def error(normalise, log_scale):
    return invariance_error(pooled(normalise), spec, channels=3, log_scale=log_scale)


floor = error(lambda w: nn.functional.normalize(w, dim=-1), 16)
added = error(lambda w: w / (w.norm(dim=-1, keepdim=True) + 1e-10), 8)
right = error(lambda w: canonical(w, {Factor.POSITIVE}), 16)
assert floor > 0.1
assert added > 1e-3
assert right < 1e-12
print(f"floor of 1e-12: error {floor:.2f} at scales to 1e±16; 1e-10 added: {added:.2g} at 1e±8; neither: below 1e-12")
