"""GM-CNN's transposed pooling reads where it should write: values land on wrong pixels.

`out[k] = y[index[k]]` is not `out[index[k]] = y[k]` unless the index is its own inverse. Both with the right windows
here.
"""

import torch

from weightspace.groups import cyclic, direct_product, subgroup
from weightspace.matrices import GroupPool, GroupUnpool, Pooling

torus = direct_product(cyclic(4), cyclic(4))
even = subgroup(torus, [2, 8])
pool, right = GroupPool(even, Pooling.MEAN), GroupUnpool(even)
index = pool.index.T.flatten()  # window by window


def published(y):
    return torch.cat([y] * 4, 1)[:, index] / 4


def adjoint_error(unpool):
    """How far <unpool(y), x> is from <y, pool(x)>, as the transpose should have it."""
    torch.manual_seed(0)
    x, y = torch.randn(1, 16, 1, dtype=torch.float64), torch.randn(1, 4, 1, dtype=torch.float64)
    return float(((unpool(y) * x).sum() - (y * pool(x)).sum()).abs())


wrong = int((index != index.argsort()).sum())
assert wrong > 0
assert adjoint_error(published) > 0.01
assert adjoint_error(right) < 1e-12
print(f"read instead of written: {wrong} of 16 pixels are wrong; GroupUnpool: the transpose, to less than 1e-12")
