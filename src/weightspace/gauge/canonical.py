"""One representative of each orbit: balanced, signed, folded and sorted."""

import torch

from weightspace.gauge.order import order_units
from weightspace.gauge.phase import fold_phases
from weightspace.gauge.scale import balance
from weightspace.gauge.sign import settle_signs
from weightspace.weights import Element, WeightFeatures, act

__all__ = ["canonical_element", "canonicalise"]


def canonicalise(x: WeightFeatures) -> WeightFeatures:
    """The representative of each network's orbit: equal functions by symmetry become equal weights.

    Four steps, each of which keeps every network's function to rounding: phases of sine units are folded into half a
    turn, positive factors chosen so that units are driven with norm one, signs so that the largest entries are
    positive, and units sorted by how they are joined to all others.

    In general position the result is the same for all members of an orbit. It is not where different units look
    alike: two units that are joined to others in the same way but are no copies (a symmetric network), entries of
    exactly the same magnitude that compete for one sign, a phase of exactly half a turn. The result then still
    computes the same function and has no undefined numbers, but may differ within the orbit; `same` looks further.
    Units that nothing reaches and nothing leaves are copies of each other and do no harm.

    Args:
        x: the networks. The representative is found in double precision and has the type of `x`.

    Raises:
        ShapeError: entries that are not finite.

    Symmetry:
        `canonicalise(act(g, x)) == canonicalise(x)`, and doing it twice changes nothing.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import features_of, sample_element
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).double()
        >>> x = features_of(spec_of(network), network)
        >>> hidden = act(sample_element(x.spec, 1, log_scale=4), x)
        >>> a, b = canonicalise(x), canonicalise(hidden)
        >>> all(torch.allclose(p, q) for p, q in zip(a.tensors, b.tensors))
        True
    """
    return act(canonical_element(x), fold_phases(x))


def canonical_element(x: WeightFeatures) -> Element:
    """The group element `g` with `canonicalise(x) == act(g, fold_phases(x))`.

    Shifts of phases are no matrices, so the group's elements cannot hold them: `fold_phases` stands apart. Where no
    place has sine units it does nothing.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import features_of
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> x = features_of(spec_of(network), network)
        >>> g = canonical_element(x)
        >>> all(torch.equal(p, q) for p, q in zip(act(g, x).tensors, canonicalise(x).tensors))
        True
    """
    with torch.no_grad():
        x = fold_phases(x.to(torch.float64))
        g = balance(x)
        x = act(g, x)
        for settle in (settle_signs, order_units):
            step = settle(x)
            g, x = step @ g, act(step, x)
        return g
