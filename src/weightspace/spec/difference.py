"""Where two weight spaces differ, in words."""

from weightspace.spec.network import NetworkSpec

__all__ = ["difference"]


def difference(
    a: NetworkSpec, b: NetworkSpec, one: str = "the first network", other: str = "the second network"
) -> str:
    """The first difference of two weight spaces, empty where there is none.

    Parameters that only one of them has come first, then shapes, then symmetries, then the way in which they compute.

    Args:
        a: a space.
        b: another.
        one: what to call a network of `a`.
        other: what to call a network of `b`.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> relu, tanh = (spec_of(nn.Sequential(nn.Linear(2, 3), f, nn.Linear(3, 1))) for f in (nn.ReLU(), nn.Tanh()))
        >>> difference(relu, relu), difference(relu, spec_of(nn.Linear(2, 3)))
        ('', "only the first network has a parameter '0.weight'")
        >>> difference(relu, tanh)
        "the units of axis '0' are POSITIVE (relu) in the first network, SIGN (tanh) in the second network"
    """
    if a == b:
        return ""
    for mine, theirs, where in ((a, b, one), (b, a, other)):
        names = {param.name for param in theirs.params}
        for param in mine.params:
            if param.name not in names:
                return f"only {where} has a parameter {param.name!r}"
    for param in a.params:
        shapes = (a.shape(param.name), b.shape(param.name))
        if shapes[0] != shapes[1]:
            return f"parameter {param.name!r} has shape {shapes[0]} in {one}, {shapes[1]} in {other}"
    units = (_units(a), _units(b))
    for name, kind in units[0].items():
        if name in units[1] and kind != units[1][name]:
            return f"the units of axis {name!r} are {kind} in {one}, {units[1][name]} in {other}"
    return "the networks have the same parameters, but compute with them in different ways"


def _units(spec: NetworkSpec) -> dict[str, str]:
    """What may be done to the units of each axis, with the activations behind it."""
    told = {}
    for axis in spec.axes:
        behind = [
            " ".join([place.activation, *(f"{name}={value:g}" for name, value in place.constants)])
            for place in spec.places
            if place.axis == axis.name and place.activation != "identity"
        ]
        told[axis.name] = f"{axis.symmetry!r} ({', '.join(behind)})" if behind else repr(axis.symmetry)
    return told
