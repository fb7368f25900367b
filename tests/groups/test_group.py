"""The axioms, on every kind of group, and that what breaks them is refused."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.groups.rows import GROUPS, frobenius

from weightspace.errors import GroupError
from weightspace.groups import (
    FiniteGroup,
    Group,
    cyclic,
    dihedral,
    direct_product,
    from_permutations,
    p4,
    semidirect_product,
    symmetric,
)

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


@each
def test_axioms(group: Group) -> None:
    e = group.elements
    table = group.table()
    # Every product of three, both ways round.
    assert torch.equal(table[table][:, :, :], table[e[:, None, None], table[None]])
    assert torch.equal(table[group.identity], e)
    assert torch.equal(table[:, group.identity], e)
    back = group.inverse(e)
    assert (group.multiply(e, back) == group.identity).all()
    assert (group.multiply(back, e) == group.identity).all()
    assert group.is_abelian == torch.equal(table, table.T)


@each
def test_conjugation(group: Group) -> None:
    a, b = group.elements[:, None], group.elements[None]
    found = group.conjugate(a, b)
    assert torch.equal(group.multiply(found, b), group.multiply(b, a))
    # Every conjugation is an automorphism, and the trivial one for all if nothing fails to commute.
    one, other = group.generators[:1] or (group.identity,), group.generators[-1:] or (group.identity,)
    product = group.multiply(one[0], other[0])
    parts = [group.conjugate(torch.tensor(g), group.elements) for g in (one[0], other[0], product)]
    assert torch.equal(group.multiply(parts[0], parts[1]), parts[2])
    assert group.is_abelian == torch.equal(found, a.expand_as(found))


@each
def test_by_table(group: Group) -> None:
    again = FiniteGroup(group.table())
    assert again.identity == group.identity
    assert torch.equal(again.inverse(again.elements), group.inverse(group.elements))


@each
def test_generators_make_everything(group: Group) -> None:
    made = {group.identity}
    while True:
        more = made | {group.multiply(g, s) for g in made for s in group.generators}
        if more == made:
            break
        made = more
    assert len(made) == group.order
    assert group.identity not in group.generators or group.order == 1


@each
def test_value(group: Group) -> None:
    again = pickle.loads(pickle.dumps(group))
    assert again == group
    assert hash(again) == hash(group)
    assert group != cyclic(97)
    assert str(group.order) or repr(group)


@pytest.mark.parametrize("name", ["cyclic", "dihedral", "torus", "dihedral times cyclic"])
def test_printed_as_typed(name: str) -> None:
    scope = {"cyclic": cyclic, "dihedral": dihedral, "direct_product": direct_product}
    assert eval(repr(GROUPS[name]), scope) == GROUPS[name]


def test_dihedral_relations() -> None:
    g = dihedral(5)
    r, s = 1, 5
    assert g.multiply(s, s) == 0
    assert g.multiply(g.multiply(s, r), s) == g.inverse(r)
    assert g.multiply(s, 3) == 8  # s r^3 has the number 5 + 3


def test_symmetric_is_composition() -> None:
    g = symmetric(4)
    for a in range(24):
        for b in range(24):
            assert g.permutations[g.multiply(a, b)].tolist() == [int(g.permutations[a][i]) for i in g.permutations[b]]


def test_direct_product_by_parts() -> None:
    g, h = dihedral(3), cyclic(4)
    both = direct_product(g, h)
    for a in range(both.order):
        for b in range(both.order):
            assert both.multiply(a, b) == g.multiply(a // 4, b // 4) * 4 + h.multiply(a % 4, b % 4)
    assert direct_product(direct_product(cyclic(2), cyclic(3)), cyclic(5)) == direct_product(*map(cyclic, (2, 3, 5)))
    assert direct_product(h) is h


def test_semidirect_product_by_formula() -> None:
    g = frobenius()
    for a in range(21):
        for b in range(21):
            assert g.multiply(a, b) == (a % 7 + 2 ** (a // 7) * (b % 7)) % 7 + 7 * ((a // 7 + b // 7) % 3)
    flip = semidirect_product(cyclic(5), cyclic(2), torch.tensor([[0, 1, 2, 3, 4], [0, 4, 3, 2, 1]]))
    # r^i s of the one is s r^-i of the other.
    same = torch.cat([torch.arange(5), 5 + -torch.arange(5) % 5])
    assert torch.equal(same[flip.table()], dihedral(5).table()[same[:, None], same])


def test_products_are_not_tabulated() -> None:
    g = direct_product(cyclic(1000), dihedral(1000), cyclic(1000))
    assert g.order == 2 * 10**9
    assert g.multiply(g.multiply(123456789, 987654321), g.inverse(987654321)) == 123456789
    with pytest.raises(GroupError, match="2000000000"):
        g.table()


def test_long_base() -> None:
    """Twelve flips of their own: words of points would not fit into an integer."""
    rows = torch.arange(40).repeat(12, 1)
    for i in range(12):
        rows[i, [2 * i, 2 * i + 1]] = torch.tensor([2 * i + 1, 2 * i])
    g = from_permutations(rows)
    assert g.order == 4096
    assert (g.multiply(g.elements, g.elements) == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.permutations(range(5)), min_size=1, max_size=3), st.data())
def test_random_permutations(generators: list[list[int]], data: st.DataObject) -> None:
    g = from_permutations(generators)
    assert 120 % g.order == 0
    a, b, c = (data.draw(st.integers(0, g.order - 1)) for _ in range(3))
    assert g.multiply(g.multiply(a, b), c) == g.multiply(a, g.multiply(b, c))
    assert g.multiply(a, g.inverse(a)) == 0
    assert torch.equal(g.permutations[g.multiply(a, b)], g.permutations[a][g.permutations[b]])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_broken_table_is_refused(data: st.DataObject) -> None:
    """Two rows of a group's table with their entries swapped in two columns: a Latin square or not, never a group."""
    table = p4(2).table()
    a, b = data.draw(st.permutations(range(16)))[:2]
    columns = data.draw(st.permutations(range(16)))[:2]
    table[[a, b], columns[0]] = table[[b, a], columns[0]]
    with pytest.raises(GroupError, match="no group"):
        FiniteGroup(table)


def test_refusals() -> None:
    # A loop that is no group: every row and column has each number once, and 0 is neutral.
    loop = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]
    with pytest.raises(GroupError, match=r"\((\d) (\d)\) (\d) = \d, but \1 \(\2 \3\) = \d"):
        FiniteGroup(loop)
    with pytest.raises(GroupError, match="neutral"):
        FiniteGroup([[0, 2, 1], [2, 1, 0], [1, 0, 2]])
    with pytest.raises(GroupError, match=r"row 1 .* \[1, 1\]"):
        FiniteGroup([[0, 1], [1, 1]])
    with pytest.raises(GroupError, match="column 0"):
        FiniteGroup([[0, 1], [0, 1]])
    for wrong in ([], [[0, 1]], [[0.0]]):
        with pytest.raises(GroupError, match="table"):
            FiniteGroup(torch.tensor(wrong))
    with pytest.raises(GroupError, match="5 is no element"):
        cyclic(5).multiply(5, 0)
    with pytest.raises(GroupError, match="-1 is no element"):
        dihedral(5).inverse(torch.tensor([0, -1]))
    with pytest.raises(GroupError, match="float32"):
        cyclic(5).multiply(torch.ones(1), 0)
    for make, size in ((cyclic, 0), (dihedral, 0), (symmetric, 0), (symmetric, 10)):
        with pytest.raises(GroupError, match=str(size)):
            make(size)
    with pytest.raises(GroupError, match=r"generator 1 .* \[0, 0\]"):
        from_permutations([[1, 0], [0, 0]])
    with pytest.raises(GroupError, match="rows"):
        from_permutations(torch.tensor([1, 0]))


def test_semidirect_refusals() -> None:
    turn = torch.arange(5)
    with pytest.raises(GroupError, match="shape"):
        semidirect_product(cyclic(5), cyclic(2), turn[None])
    with pytest.raises(GroupError, match="does not permute"):
        semidirect_product(cyclic(5), cyclic(2), torch.stack([turn, turn * 0]))
    with pytest.raises(GroupError, match="no automorphism"):
        semidirect_product(cyclic(5), cyclic(2), torch.stack([turn, (turn + 1) % 5]))
    with pytest.raises(GroupError, match="not as 1"):
        semidirect_product(cyclic(5), cyclic(2), torch.stack([turn, turn * 2 % 5]))


def test_large_actions_are_not_printed() -> None:
    assert (
        repr(p4(9)) == "semidirect_product(direct_product(cyclic(9), cyclic(9)), cyclic(4), an action of 4 x 81 images)"
    )
    assert "[0, 1, 2, 3]" in repr(p4(2))
