"""Walking a network's graph with the tracer until nothing new is learnt."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from weightspace.spec.activations import activation_of_operation
from weightspace.spec.trace.atom import Atom, Forest
from weightspace.spec.trace.graph import Network
from weightspace.spec.trace.pairing import check_value
from weightspace.spec.trace.rule import PACKED, RULES, activate, not_understood
from weightspace.spec.trace.shape import collapsed
from weightspace.spec.trace.tracer import OpenPlace, Tracer
from weightspace.spec.trace.value import UNIT, Mark, Slot, Value, fixed

__all__ = ["INPUT", "OUTPUT", "UNUSED", "Solution", "solve"]

INPUT, OUTPUT, UNUSED = "indexes the inputs", "indexes the outputs", "is not used"
EXAMPLE = "paired with the examples of a batch"


# Operations that run a graph within the graph once, on the arguments behind it. Branches and loops are not read.
INLINED = {"wrap_with_set_grad_enabled", "wrap_with_autocast", "tag_activation_checkpoint"}


class Solution:
    """What was found: the last walk, with the atoms of every parameter's dimensions and their marks."""

    def __init__(self, network: Network, forest: Forest) -> None:
        self.network = network
        self.forest = forest
        self.atoms = {key: tuple(Atom(n) for n in shape) for key, shape in network.shapes.items()}
        self.inputs: dict[tuple[str, int], Atom] = {}
        self.marks: dict[str, tuple[tuple[Mark, ...], ...]] = {}
        self.tracer = Tracer(forest, set())


def solve(network: Network) -> Solution:
    """Walk the graph until the sets of units are known; the equations of the last walk then hold for them."""
    unpacked: set[tuple[str, int]] = set()
    while True:
        solution = Solution(network, Forest())
        wanted: set[tuple[str, int]] = set()
        known = -1
        while solution.forest.changes != known:
            known = solution.forest.changes
            # A doubt is of the walk that froze what it is about: later ones find nothing left to doubt.
            solution.tracer = Tracer(solution.forest, unpacked, wanted, doubts=solution.tracer.doubts)
            _Walk(solution).graph(network.graph, network.owner, {})
        if wanted <= unpacked:
            return solution
        unpacked |= wanted


class _Walk:
    """One walk: a value for every node."""

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.t = solution.tracer
        self.met: set[str] = set()
        network = solution.network
        # A tied parameter has a node for every name, and most of them have no users.
        self.used = {network.params[n.name] for n in network.graph.nodes if n.name in network.params and n.users}

    def graph(self, graph: Graph, owner: GraphModule, given: Mapping[Node, Any], *, top: bool = True) -> Any:
        """The values that a graph gives."""
        env: dict[Node, Any] = dict(given)
        result = None
        for node in graph.nodes:
            if node.op == "placeholder":
                if node not in given:
                    env[node] = self._placeholder(node)
            elif node.op == "get_attr":
                env[node] = self._attribute(owner, node)
            elif node.op == "output":
                result = map_arg(node.args[0], lambda n: env[n])
                if top:
                    self._outputs(node, env)
            else:
                env[node] = self._called(node, env, owner)
        return result

    # ---- what comes in

    def _placeholder(self, node: Node) -> Any:
        network, example = self.solution.network, node.meta.get("val")
        if node.name in network.params:
            return self._param(node, network.params[node.name])
        if not isinstance(example, torch.Tensor):
            return example
        if node.name in network.inputs and example.is_floating_point():
            return self._input(node, tuple(example.shape))
        return Value(tuple(fixed(n) for n in example.shape))

    def _param(self, node: Node, key: str) -> Value:
        atoms, forest = self.solution.atoms[key], self.t.forest
        if key not in self.met:
            marks = tuple(tuple(self.t.unknown(leaf) for leaf in forest.leaves(atom)) for atom in atoms)
            self.solution.marks[key] = marks
            self.met.add(key)
        dims = tuple(
            self.t.resolve(((Slot(atom.size, atom, own),),))
            for atom, own in zip(atoms, self.solution.marks[key], strict=True)
        )
        if key not in self.used:
            self.t.where = ""
            self.t.freeze(dims, UNUSED)
        return Value(dims, param=key, shared=len(node.users) > 1)

    def _input(self, node: Node, shape: tuple[int, ...]) -> Value:
        name = node.name
        if name not in self.t.places:
            self.t.places[name] = OpenPlace(None, Mark(place=name))
        dims = []
        for d, size in enumerate(shape):
            reason = INPUT if d or len(shape) == 1 else EXAMPLE
            atom = self.solution.inputs.setdefault((name, d), Atom(size, frozen=reason))
            dims.append(((Slot(size, atom, (Mark(place=name),)),),) if size > 1 or d else UNIT)
        return Value(tuple(dims), shared=len(node.users) > 1)

    def _attribute(self, owner: GraphModule, node: Node) -> Any:
        found: Any = owner
        for name in str(node.target).split("."):
            found = getattr(found, name)
        return Value(tuple(fixed(n) for n in found.shape)) if isinstance(found, torch.Tensor) else found

    # ---- what is computed

    def _called(self, node: Node, env: dict[Node, Any], owner: GraphModule) -> Any:
        arguments: Any = map_arg(node.args, lambda n: env[n])
        keywords: Any = map_arg(node.kwargs, lambda n: env[n])
        if getattr(node.target, "__name__", "") == "getitem":
            return arguments[0][arguments[1]] if isinstance(arguments[0], list | tuple) else arguments[0]
        name = getattr(node.target, "_opname", None) or getattr(node.target, "_name", None) or str(node.target)
        self.t.node, self.t.where = node.name, _where(node, name)
        if name in INLINED:
            value = self._subgraph(arguments)
        else:
            value = self._operation(node, name.rstrip("_") if not name.endswith("__") else name, arguments, keywords)
        value = pytree.tree_map(lambda v: self._finished(node, v), value, is_leaf=lambda v: isinstance(v, Value))
        if name.endswith("_") and not name.endswith("__") and isinstance(node.args[0], Node):
            env[node.args[0]] = value  # written in place: who reads the old tensor later sees the new one
        return value

    def _operation(self, node: Node, name: str, arguments: Any, keywords: Any) -> Any:
        leaves = pytree.tree_leaves((arguments, keywords), is_leaf=lambda v: isinstance(v, Value))
        if not any(isinstance(leaf, Value) for leaf in leaves) and name not in RULES:
            return pytree.tree_map(_constant, node.meta.get("val"))
        if name not in PACKED:
            arguments, keywords = pytree.tree_map(
                lambda v: collapsed(self.t, v) if isinstance(v, Value) else v,
                (arguments, keywords),
                is_leaf=lambda v: isinstance(v, Value),
            )
        if name in RULES:
            try:
                return RULES[name](self.t, node, *arguments, **keywords)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                # Called in a form that the rule was not written for: nothing is claimed of it.
                reason = f"{node.target} is called in a form that is not read ({type(error).__name__}: {error})"
                return not_understood(self.t, node, reason, arguments, keywords)
        found = activation_of_operation(name, arguments[1:], keywords)
        if found is not None:
            return activate(self.t, node, arguments[0], *found)
        return not_understood(self.t, node, f"operation {node.target} is not known", arguments, keywords)

    def _subgraph(self, arguments: Any) -> Any:
        """What a graph within the graph gives (a stretch that runs without gradients, or in another precision)."""
        module = next(a for a in arguments if isinstance(a, GraphModule))
        inside = [n for n in module.graph.nodes if n.op == "placeholder"]
        values = arguments[[a is module for a in arguments].index(True) + 1 :]
        return self.graph(module.graph, module, dict(zip(inside, values, strict=True)), top=False)

    def _finished(self, node: Node, value: Any) -> Any:
        if not isinstance(value, Value):
            return value
        check_value(self.t, value)
        example = node.meta.get("val")
        if isinstance(example, torch.Tensor) and not (example.is_floating_point() or example.is_complex()):
            self.t.unscale(value.dims)  # whichever operation rounds, or counts: integers do not scale
        if len(node.users) > 1 and not value.shared:
            value = Value(value.dims, value.zero, True, value.param, value.cases)
        return value

    def _outputs(self, node: Node, env: dict[Node, Any]) -> None:
        self.t.where = ""
        for leaf in pytree.tree_leaves(node.args[0]):
            value = env.get(leaf) if isinstance(leaf, Node) else None
            if isinstance(value, Value) and leaf.name in self.solution.network.outputs:
                value = collapsed(self.t, value)
                self.t.unscale(value.dims)
                self.t.freeze(value.dims, OUTPUT)


def _constant(example: Any) -> Any:
    return Value(tuple(fixed(n) for n in example.shape)) if isinstance(example, torch.Tensor) else example


def _where(node: Node, name: str) -> str:
    """The module and the operation that a node stands for, as a reader would look for them."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    path = paths[-1].split("@")[0] if paths else ""
    return f"{name} in {path!r}" if path else name
