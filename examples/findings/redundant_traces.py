"""MAGEP-NFN's traces add nothing to its other terms, and one coefficient for all paths of biases takes something away.

tr(W..W Psi W..W) is a linear function of the product of all weights, whatever the layer it is taken at. Of [Wb](s, t),
the bias of layer t carried on to layer s, there is one for each t, but the code sums them up.
"""

import torch

torch.manual_seed(0)
inputs, units, outputs, networks = 2, 5, 3, 200
w1, w2, w3 = (
    torch.randn(networks, *shape, dtype=torch.float64) for shape in ((units, inputs), (units, units), (outputs, units))
)
b1, b2 = torch.randn(2, networks, units, 1, dtype=torch.float64)
psi = torch.randn(2, inputs, outputs, dtype=torch.float64)


def rank(*terms):
    """How many of the numbers per network are linearly independent over the networks."""
    return int(torch.linalg.matrix_rank(torch.cat([t.reshape(networks, -1) for t in terms], 1)))


def trace(matrix):
    return matrix.diagonal(dim1=1, dim2=2).sum(1)


product = w3 @ w2 @ w1
traces = trace(w1 @ psi[0] @ w3 @ w2), trace(w2 @ w1 @ psi[1] @ w3)
carried = w3 @ w2 @ b1, w3 @ b2
tied = sum(carried), trace(b1 @ psi[0, :1] @ w3 @ w2), trace(b2 @ psi[1, :1] @ w3)  # all that the code has of them
assert rank(*traces) == 2
assert rank(product, *traces) == rank(product) == inputs * outputs
assert rank(*carried, *tied) == rank(*carried) == 2 * outputs > rank(*tied)
added = rank(product, *traces) - rank(product)
print(
    f"2 traces add {added} to the rank; of {rank(*carried)} numbers that biases bring {rank(*tied)} are left when tied"
)
