"""Specs: text and back, equality, a digest that never changes, and every refusal."""

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
from tests.laws.registry import SPECS, mlp
from torch import nn

from weightspace import spec as names
from weightspace.errors import SpecError, UnknownNameError, WeightspaceError
from weightspace.spec import (
    FIXED,
    NONZERO,
    PERMUTATION,
    POSITIVE,
    SIGN,
    Axis,
    Factor,
    Leg,
    NetworkSpec,
    ParamSpec,
    Place,
    Symmetry,
    View,
    Wire,
    spec_of,
)

A, H = Axis("a", 2, FIXED), Axis("h", 3, SIGN)
INNER = Axis("inner", 2, SIGN, within="h")


def param(name: str = "w", *legs: Leg, key: str = "w") -> ParamSpec:
    return ParamSpec(name, legs, "weight", View(key))


@pytest.mark.parametrize("name", SPECS)
def test_text_and_back(name: str) -> None:
    spec = SPECS[name]
    for again in (
        NetworkSpec.from_json(spec.to_json()),
        eval(repr(spec), dict(vars(names))),
        pickle.loads(pickle.dumps(spec)),
        copy.deepcopy(spec),
    ):
        assert again == spec
        assert hash(again) == hash(spec)
        assert again.digest == spec.digest
        assert again.report() == spec.report()


def test_slices_and_constants_survive_json() -> None:
    spec = NetworkSpec(
        (A,),
        (ParamSpec("w", (Leg("a"),), "weight", View("packed", (4,), 2, (1,))),),
        (Place("p", "a", "sine", (("omega", 30.0),)),),
        (Wire("w", None, "p"),),
    )
    again = NetworkSpec.from_json(spec.to_json())
    assert again.params[0].view == View("packed", (4,), 2, (1,))
    assert again.places[0].constants == (("omega", 30.0),)
    assert again == spec


def test_the_digest_never_changes() -> None:
    """Zoos on disk carry it: a change here makes them unreadable."""
    assert SPECS["siren"].digest == "8b455d223e90e4e3d82374631d7da21c8fde5e4fdc0eb2c1802f6658ab2f8a79"


def test_different_specs_differ() -> None:
    assert len({spec.digest for spec in SPECS.values()}) == len(set(SPECS.values()))
    assert SPECS["tanh"] != SPECS["siren"]  # same symmetry, another function
    assert SPECS["tanh"] != SPECS["tanh"].to_json()


def test_specs_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SPECS["tanh"].axes = ()


def test_sign_powers_count_modulo_two() -> None:
    one, minus_one = (NetworkSpec((H,), (param("w", Leg("h", (power,))),)) for power in (1, -1))
    assert one == minus_one
    assert one.param("w").legs[0].powers == (1,)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Axis("h", 0, SIGN), SpecError, "'h' has size 0"),
        (lambda: Symmetry(False, (Factor.SIGN,)), SpecError, "does not permute"),
        (lambda: NetworkSpec((A, A), ()), SpecError, "axis name 'a' is used twice"),
        (lambda: NetworkSpec((A,), (param("w"), param("w"))), SpecError, "parameter name 'w' is used twice"),
        (
            lambda: NetworkSpec((A,), (), (Place("p", "a"), Place("p", "a"))),
            SpecError,
            "place name 'p' is used twice",
        ),
        (lambda: NetworkSpec((INNER,), ()), UnknownNameError, "axis 'h'"),
        (lambda: NetworkSpec((A,), (param("w", Leg("b")),)), UnknownNameError, "axis 'b'"),
        (lambda: NetworkSpec((A,), (), (Place("p", "b"),)), UnknownNameError, "axis 'b'"),
        (lambda: NetworkSpec((A,), (), (), (Wire("w", None, "p"),)), UnknownNameError, "parameter 'w'"),
        (
            lambda: NetworkSpec((A,), (param("w", Leg("a")),), (Place("p", "a"),), (Wire("w", "q", "p"),)),
            UnknownNameError,
            "place of the wire 'w' 'q'",
        ),
        (
            lambda: NetworkSpec((A,), (param("w", Leg("a")),), (Place("p", "a"),), (Wire("w", "p", "q"),)),
            UnknownNameError,
            "place of the wire 'w' 'q'",
        ),
        (lambda: NetworkSpec((H,), (param("w", Leg("h")),)), SpecError, r"powers \(\) on axis 'h'.* 1 factor"),
        (lambda: NetworkSpec((A,), (param("w", Leg("a", (1,))),)), SpecError, "0 factor"),
        (
            lambda: NetworkSpec((H, INNER), (param("w", Leg("inner", (1,)), Leg("h", (1,))),)),
            SpecError,
            "nested in 'h', without a leg on 'h' before it",
        ),
        (
            lambda: NetworkSpec((Axis("x", 2, SIGN, "y"), Axis("y", 2, SIGN, "x")), ()),
            SpecError,
            r"\['x', 'y'\] are nested in each other",
        ),
        (lambda: NetworkSpec((Axis("x", 2, SIGN, "x"),), ()), SpecError, "nested in each other"),
        (lambda: SPECS["tanh"].with_symmetry(POSITIVE), SpecError, "PERMUTATION or FIXED, not POSITIVE"),
        (lambda: SPECS["tanh"].with_symmetry(FIXED, axes=("imput",)), UnknownNameError, 'did you mean "input"'),
        (lambda: SPECS["tanh"].shape("0.wieght"), UnknownNameError, 'did you mean "0.weight"'),
    ],
)
def test_contradictions_are_refused(make: Callable, error: type[WeightspaceError], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"axes": 3}', '{"axes": [["a"]]}', "null"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="not the JSON of a NetworkSpec"):
        NetworkSpec.from_json(text)


def test_an_unknown_factor_in_json_is_refused() -> None:
    plain = json.loads(SPECS["tanh"].to_json())
    plain["axes"][1][3] = ["complex"]
    with pytest.raises(SpecError, match="complex"):
        NetworkSpec.from_json(json.dumps(plain))


def test_fewer_symmetries() -> None:
    spec = SPECS["relu-tanh"]
    plain = spec.with_symmetry(PERMUTATION)
    assert [axis.symmetry for axis in plain.axes] == [FIXED, PERMUTATION, PERMUTATION, FIXED]
    assert all(leg.powers == () for p in plain.params for leg in p.legs)
    assert spec.with_symmetry(FIXED).free_axes == ()
    assert spec.with_symmetry(PERMUTATION, axes=("0",)).axis("2") == spec.axis("2")


def test_names_of_symmetries() -> None:
    assert [repr(s) for s in (FIXED, PERMUTATION, SIGN, POSITIVE, NONZERO)] == [
        "FIXED",
        "PERMUTATION",
        "SIGN",
        "POSITIVE",
        "NONZERO",
    ]
    assert repr(Symmetry(True, (Factor.SIGN, Factor.SIGN))) == "Symmetry(True, (Factor.SIGN, Factor.SIGN))"


def test_the_report_says_who_uses_what() -> None:
    lines = spec_of(mlp((2, 3, 1), nn.Tanh(), bias=False)).report().splitlines()
    assert lines == [
        "9 parameters in 2 blocks, 100% of them with a symmetry",
        "group: 10^0.8 permutations, 0 positive scales, 3 signs",
        "axis input: 2 units, FIXED",
        "axis 0: 3 units, SIGN (tanh)",
        "axis 2: 1 unit, FIXED",
        "weight 0.weight: 0[1] x input",
        "weight 2.weight: 2 x 0[1]",
    ]
