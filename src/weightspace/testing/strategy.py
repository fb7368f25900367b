"""Random networks for Hypothesis, which makes failing ones as small as it can. Needs the package `hypothesis`."""

from collections.abc import Sequence

from torch import Tensor, nn

from weightspace.testing.network import PLAIN, SKIPS, Blueprint, Layer

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "weightspace.testing.strategy draws networks with Hypothesis, which is not installed: run "
        "'pip install hypothesis', or take weightspace.testing.random_module, which needs nothing more."
    ) from error

__all__ = ["blueprints", "networks"]


def blueprints(
    *,
    depth: tuple[int, int] = (1, 3),
    width: tuple[int, int] = (1, 5),
    kernel: tuple[int, int] = (1, 3),
    spatial: Sequence[int] = (0, 1, 2),
    activations: Sequence[str] = PLAIN,
    skips: Sequence[str] = SKIPS,
    norms: bool = True,
) -> st.SearchStrategy[Blueprint]:
    """Descriptions of random networks; arguments as for `random_module`.

    Simpler ones are shallow, narrow, dense, without skips and norms, with activations that stand first in the list.

    Example:
        >>> from hypothesis import find
        >>> find(blueprints(), lambda blueprint: len(blueprint.layers) > 1)  # the simplest that has two layers
        Blueprint(inputs=1, layers=(Layer(width=1, activation='gelu', ...), Layer(...)), outputs=1, spatial=0)
    """
    layers = st.builds(
        Layer,
        width=st.integers(*width),
        activation=st.sampled_from(activations),
        bias=st.booleans(),
        kernel=st.integers(*kernel),
        norm=st.booleans() if norms else st.just(False),
        skip=st.sampled_from(skips),
    )
    return st.builds(
        Blueprint,
        inputs=st.integers(*width),
        layers=st.lists(layers, min_size=depth[0], max_size=depth[1]).map(tuple),
        outputs=st.integers(*width),
        spatial=st.sampled_from(spatial),
    )


def networks(
    *,
    depth: tuple[int, int] = (1, 3),
    width: tuple[int, int] = (1, 5),
    kernel: tuple[int, int] = (1, 3),
    spatial: Sequence[int] = (0, 1, 2),
    activations: Sequence[str] = PLAIN,
    skips: Sequence[str] = SKIPS,
    norms: bool = True,
) -> st.SearchStrategy[tuple[nn.Module, tuple[Tensor, ...]]]:
    """Random networks with example inputs; arguments as for `random_module`.

    Example:
        >>> from hypothesis import given
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import assert_function_preserved
        >>> @given(networks(spatial=(0,), skips=("none",), norms=False))
        ... def test_specs_are_right(network):
        ...     module, inputs = network
        ...     assert_function_preserved(module, spec_of(module), inputs)
    """
    drawn = blueprints(
        depth=depth, width=width, kernel=kernel, spatial=spatial, activations=activations, skips=skips, norms=norms
    )
    return st.builds(Blueprint.build, drawn, seed=st.integers(0, 2**16))
