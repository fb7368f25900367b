"""A network's computation as a graph of operations, from a module or an exported program."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.export import ExportedProgram, default_decompositions
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from weightspace.errors import SpecError
from weightspace.spec.activations import OPERATIONS
from weightspace.spec.trace.rule import RULES

__all__ = ["Network", "arguments_of", "exported", "functional", "network_of", "quiet"]

# Operations that give another view of the same memory: what is written to one is seen through the other.
VIEWS = {
    "view", "reshape", "select", "slice", "narrow", "transpose", "permute", "expand", "unsqueeze", "squeeze", "flatten",
    "unflatten", "chunk", "split", "split_with_sizes", "unbind", "diagonal", "t", "alias", "detach", "view_as", "to",
    "contiguous", "broadcast_to", "type_as", "expand_as", "reshape_as", "movedim", "unfold",
    "swapaxes", "swapdims", "tensor_split", "real", "imag", "view_as_real", "view_as_complex", "squeeze_", "unsqueeze_",
}  # fmt: skip
STATISTICS = {
    "batch_norm": (3, 4), "instance_norm": (3, 4), "_native_batch_norm_legit_no_training": (3, 4),
    "_native_batch_norm_legit_functional": (3, 4),
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A graph with what its inputs stand for.

    Args:
        graph: the operations, in the order of computation.
        owner: the module that holds subgraphs.
        params: by node name, the state-dict key of a parameter or of a stored statistic.
        shapes: by state-dict key, the shape of the stored tensor, in the order of the state dict.
        inputs: names of the nodes that are the network's own inputs.
        outputs: names of the nodes whose values it gives.
    """

    graph: Graph
    owner: GraphModule
    params: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[str, ...]
    outputs: frozenset[str]


def arguments_of(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from example inputs: a tensor, a sequence, or a mapping of keywords.

    The pair `(args, kwargs)`, a tuple and a dict as exported programs have it, gives both. A module that takes a tuple
    and a dict as its two arguments is called with `((args, kwargs), {})`.

    Raises:
        SpecError: anything else.
    """
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple) and [type(part) for part in inputs] == [tuple, dict]:
        return inputs[0], dict(inputs[1])
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    raise SpecError(
        f"example inputs of type {type(inputs).__name__}; give a tensor, a tuple of positional arguments, a dict of "
        "keyword arguments, or the pair of both, as the module is called with."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and the listings that torch prints of what it cannot trace: the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def exported(module: nn.Module, inputs: Any) -> ExportedProgram:
    """The module's computation on example inputs. Raises whatever stops the export."""
    positional, keywords = arguments_of(inputs)
    with quiet(), torch.no_grad():
        return functional(torch.export.export(module, positional, keywords or None, strict=False))


def functional(program: ExportedProgram) -> ExportedProgram:
    """The same computation, in which no view of a tensor is changed by writing to another.

    Raises:
        SpecError: a shape in it depends on the data.
    """
    for node in list(program.graph.nodes):
        shape = getattr(node.meta.get("val"), "shape", ())
        if not all(isinstance(size, int) for size in shape):
            raise SpecError(f"the shape {tuple(shape)} of {node.name} depends on the data, or was left open")
        if _drops_nothing(node):
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    for _ in range(3):  # what an operation is made of may be made of others
        parts = _decompositions(program.graph)
        if not parts and not _writes_into_views(program.graph):
            break
        with quiet(), torch.no_grad():
            try:
                program = program.run_decompositions(parts)
            except Exception:  # whatever one of the decompositions stumbles over: what has no rule is then fixed
                return program.run_decompositions({}) if _writes_into_views(program.graph) else program
    return program


def _decompositions(graph: Graph) -> dict[Any, Any]:
    """How torch computes the operations that there is no rule for, where it makes them of others."""
    strange = {node.target for node in graph.nodes if _is_strange(node)}
    known = {**decomposition_table, **default_decompositions()} if strange else {}
    return {operation: known[operation] for operation in strange if operation in known}


def _is_strange(node: Node) -> bool:
    """Whether there is no rule for a node's operation, and its result could scale: integers do not."""
    if not isinstance(node.target, OpOverload) or node.target._opname.rstrip("_") in {*RULES, *OPERATIONS}:
        return False
    return not all(
        isinstance(x, Tensor) and not x.is_floating_point() for x in pytree.tree_leaves(node.meta.get("val"))
    )


def _drops_nothing(node: Node) -> bool:
    """Whether a node is a dropout that is switched off: it gives its input itself, not a copy."""
    name = getattr(node.target, "_opname", "")
    return name.rstrip("_") in ("dropout", "feature_dropout", "alpha_dropout") and not node.args[-1]


def _writes_into_views(graph: Graph) -> bool:
    """Whether a tensor is written to that may be a view of another, or that others are views of."""
    for node in graph.nodes:
        if _writes(node) and isinstance(written := node.args[0], Node):
            name = getattr(written.target, "_opname", "")
            counter = written.op == "placeholder" and not written.meta["val"].is_floating_point()
            fresh = counter or (name != "" and name not in VIEWS)
            if not fresh or len(written.users) > 1:
                return True
    return False


def _writes(node: Node) -> bool:
    name = getattr(node.target, "_opname", "")
    return node.op == "call_function" and name.endswith("_") and not name.endswith("__") and bool(node.args)


def network_of(program: ExportedProgram, module: nn.Module | None = None) -> Network:
    """The graph of an exported program; parameters that are tied go by their first name."""
    first = _first_names(program, module)
    statistics = _statistics(program.graph)
    params, inputs = {}, []
    for spec in program.graph_signature.input_specs:
        name = getattr(spec.arg, "name", None)
        if name is None or spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.USER_INPUT):
            continue
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(name)
        elif spec.kind is InputKind.PARAMETER or name in statistics:
            params[name] = first[str(spec.target)]
    state = program.state_dict
    used = set(params.values())
    shapes = {key: tuple(state[key].shape) for key in state if key in used}
    empty = [f"{key!r} of shape {shape}" for key, shape in shapes.items() if 0 in shape]
    if empty:
        raise SpecError(f"parameter {empty[0]} holds no numbers; leave it out of the module to have the rest read.")
    outputs = {
        spec.arg.name
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT and hasattr(spec.arg, "name")
    }
    return Network(program.graph, program.graph_module, params, shapes, tuple(inputs), frozenset(outputs))


def _first_names(program: ExportedProgram, module: nn.Module | None) -> dict[str, str]:
    """For every name of a parameter, the first name of the same tensor."""
    tensors: dict[str, Tensor] = dict(program.state_dict)
    if module is not None:
        tensors |= dict(module.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in tensors.items()}


def _statistics(graph: Graph) -> set[str]:
    """Names of the nodes that normalisations take for stored means and variances."""
    found = set()
    for node in graph.nodes:
        for position in STATISTICS.get(getattr(node.target, "_opname", ""), ()):
            if position < len(node.args) and isinstance(node.args[position], Node):
                found.add(node.args[position].name)
    return found
