"""How group elements act on features: the only code that moves them."""

from weightspace.errors import SymmetryError
from weightspace.spec import Element, identity, sample_element
from weightspace.weights.features import WeightFeatures

__all__ = ["Element", "act", "identity", "sample_element"]


def act(g: Element, x: WeightFeatures) -> WeightFeatures:
    """The networks `x` with their units moved and scaled by `g`; every network's function stays what it was.

    Shapes:
        g has as many elements as `x` has networks, or one of both has length one and is used for all.

    Raises:
        SymmetryError: the element belongs to other axes than the features have.

    References:
        Tran et al., "Monomial Matrix Group Equivariant Neural Functional Networks", NeurIPS 2024, section 4: the
        action `W -> g_i W g_{i-1}^{-1}`, `b -> g_i b`.
    """
    if set(g.axes) != set(x.spec.free_axes):
        wrong = sorted({a.name for a in g.axes} ^ {a.name for a in x.spec.free_axes}) or "axes of equal names"
        raise SymmetryError(
            f"the group element and the features disagree on {wrong}; sample it from the features' spec."
        )
    if len(g) != len(x) and 1 not in (len(g), len(x)):
        raise SymmetryError(f"{len(g)} group elements for {len(x)} networks; expected as many, or one.")
    return WeightFeatures(x.spec, [g.move_block(p, tensor) for p, tensor in zip(x.spec.params, x.tensors, strict=True)])
