"""The table of rules, and what is done where none fits."""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from weightspace.spec.trace.tracer import Tracer
from weightspace.spec.trace.value import Value, fixed

__all__ = ["PACKED", "RULES", "Rule", "named_argument", "not_understood", "output_shape", "rule"]

Rule = Callable[..., Any]

# By the name of the operation alone. A rule gets the tracer, the node, and the values of the node's arguments.
RULES: dict[str, Rule] = {}
# The rules that keep tensors apart which were packed into one.
PACKED: set[str] = set()


def rule(*operations: str, packed: bool = False) -> Callable[[Rule], Rule]:
    """Register a function as the rule of some operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations, function))
        if packed:
            PACKED.update(operations)
        return function

    return register


def output_shape(node: Node) -> tuple[int, ...]:
    """Shape of the tensor that a node gives."""
    return tuple(node.meta["val"].shape)


def named_argument(node: Node, name: str) -> Any:
    """What an operation is called with under a name of its schema, or what it takes where nothing is given."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    names, defaults = [a.name for a in schema], {a.name: a.default_value for a in schema if a.has_default_value()}
    return {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}.get(name)


def not_understood(t: Tracer, node: Node, reason: str, *arguments: Any) -> Any:
    """The values of an operation of which nothing is known: the units it touches are frozen."""
    leaves = pytree.tree_leaves(arguments, is_leaf=lambda x: isinstance(x, Value))
    values = [leaf for leaf in leaves if isinstance(leaf, Value)]
    if any(t.is_free(slot) for value in values for slot in t.slots(value.dims)):
        t.doubt(reason)
        for value in values:
            t.freeze(value.dims, reason)
    return pytree.tree_map(
        lambda out: Value(tuple(fixed(n) for n in out.shape)) if isinstance(out, torch.Tensor) else out,
        node.meta.get("val"),
    )
