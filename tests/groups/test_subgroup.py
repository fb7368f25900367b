"""Subgroups, cosets, neighbourhoods, frames and actions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.groups.rows import GROUPS

from weightspace.errors import GroupError
from weightspace.groups import (
    Action,
    Dihedral,
    Group,
    ball,
    box,
    cyclic,
    dihedral,
    direct_product,
    frame,
    from_permutations,
    left_cosets,
    natural,
    p4,
    quotient,
    regular,
    right_cosets,
    subgroup,
    symmetric,
    table_action,
)

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


@each
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_cosets(group: Group, data: st.DataObject) -> None:
    held = subgroup(group, data.draw(st.lists(st.integers(0, group.order - 1), max_size=2)))
    assert group.order % held.order == 0  # Lagrange
    for cosets, left in ((left_cosets(held), True), (right_cosets(held), False)):
        assert len(cosets) * held.order == group.order
        assert torch.equal(cosets.members.flatten().sort().values, group.elements)
        for j, t in enumerate(cosets.transversal.tolist()):
            for i, h in enumerate(held.inclusion.tolist()):
                member = int(cosets.members[j, i])
                assert member == (group.multiply(t, h) if left else group.multiply(h, t))
                assert cosets.label[member] == j
        assert torch.equal(cosets.members[:, held.identity], cosets.transversal)


@each
def test_frame(group: Group) -> None:
    for found in (frame(group), frame(group).folded(1), frame(group).folded(3)):
        assert torch.equal(found.elements.flatten().sort().values, group.elements)
        torus, transversal = found.elements[0], found.elements[:, 0]
        assert transversal[0] == group.identity
        axes = direct_product(*map(cyclic, found.sizes))
        # The torus multiplies as its coordinates add, and moves every coset along.
        assert torch.equal(group.multiply(torus[:, None], torus), torus[axes.table()])
        assert torch.equal(found.elements, group.multiply(torus[None], transversal[:, None]))
        coset, *steps = found.coordinates().T
        place = torch.zeros_like(coset)
        for size, step in zip(found.sizes, steps, strict=True):
            place = place * size + step
        assert torch.equal(found.elements[coset, place], group.elements)
    assert not group.is_abelian or isinstance(group, Dihedral) or len(frame(group).elements) == 1


def test_frame_of_products() -> None:
    assert frame(p4(3)).sizes == (3, 3)
    assert frame(GROUPS["shuffled abelian"]).sizes == (12, 2)
    assert frame(direct_product(cyclic(2), cyclic(9), cyclic(1), cyclic(5))).folded(2).sizes == (9, 5)
    assert frame(GROUPS["quaternion"]).elements.shape == (2, 4)


def test_boxes() -> None:
    g = direct_product(dihedral(7), dihedral(7))
    assert [len(box(g, t)) for t in (0, 1, 2, 3, 9)] == [4, 36, 100, 196, 196]
    assert len(box(direct_product(dihedral(3), dihedral(3)), 2)) == 36  # no element twice
    assert len(box(direct_product(cyclic(32), cyclic(32)), 3)) == 49
    assert len(box(direct_product(cyclic(5), cyclic(5)), (0, 1))) == 3
    for wrong in (-1, (1,), (1, 1, 1)):
        with pytest.raises(GroupError, match="radius"):
            box(direct_product(cyclic(5), cyclic(5)), wrong)


@each
def test_balls(group: Group) -> None:
    assert ball(group, 0).tolist() == [group.identity]
    grown = [set(ball(group, radius).tolist()) for radius in range(4)]
    letters = {*group.generators, *(group.inverse(g) for g in group.generators)}
    for inner, outer in zip(grown, grown[1:], strict=False):
        assert outer == inner | {group.multiply(g, s) for g in inner for s in letters}
    assert len(ball(group, group.order)) == group.order
    with pytest.raises(GroupError, match="-1"):
        ball(group, -1)


def actions(group: Group) -> list[Action]:
    held = subgroup(group, group.generators[-1:])
    return [regular(group), quotient(held), quotient(subgroup(group, group.generators))]


@each
def test_actions(group: Group) -> None:
    g, h = group.elements[:, None, None], group.elements[None, :, None]
    for action in actions(group):
        x = torch.arange(action.points)
        assert torch.equal(action.move(group.multiply(g, h), x), action.move(g, action.move(h, x)))
        assert torch.equal(action.move(torch.tensor(group.identity), x), x)
        assert (action.orbits() == 0).all()  # transitive
        assert action.stabiliser(0).order * action.points == group.order
        # A representation of the left action, and of no other.
        rho = action.representation(group.elements)
        v = torch.randn(group.order, action.points, dtype=torch.float64)
        table = group.table()
        one = action.representation(group.elements[:1])
        for a in range(group.order):
            assert torch.equal(rho[table[a]].move(v, (1,)), rho[a : a + 1].move(rho.move(v, (1,)), (1,)))
        assert len(one) == 1


def test_orbits_and_stabilisers() -> None:
    g = from_permutations([[1, 2, 0, 3, 4, 5], [0, 1, 2, 4, 3, 5]])
    action = natural(g)
    assert action.orbits().tolist() == [0, 0, 0, 1, 1, 2]
    assert [action.stabiliser(x).order for x in range(6)] == [2, 2, 2, 3, 3, 6]
    assert natural(symmetric(4)).stabiliser(2).order == 6
    with pytest.raises(GroupError, match="point 6"):
        action.stabiliser(6)


def test_table_action() -> None:
    g = cyclic(3)
    good = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    assert torch.equal(table_action(g, good).move(g.elements[:, None], torch.arange(3)), good)
    for wrong, match in (
        (good[:2], "row"),
        (good[[1, 2, 0]], "identity"),
        (good[[0, 1, 1]], r"\(1 1\)"),
        (good + 3 * (good == 1), "ident"),
    ):
        with pytest.raises(GroupError, match=match):
            table_action(g, wrong)


def test_subgroup_numbers() -> None:
    held = subgroup(dihedral(6), [2])
    assert held.inclusion.tolist() == [0, 2, 4]
    assert 4 in held
    assert 3 not in held
    assert held.number(4) == 2
    with pytest.raises(GroupError, match="3 is not in"):
        held.number(3)
    with pytest.raises(GroupError, match="12 is no element"):
        subgroup(dihedral(6), [12])
