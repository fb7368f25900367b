"""Reading a network's symmetry off its computation: a walk through its graph that asks what each operation needs."""

from weightspace.spec.trace.assemble import assemble
from weightspace.spec.trace.graph import Network, arguments_of, exported, functional, network_of, quiet
from weightspace.spec.trace.walk import Solution, solve

__all__ = ["Network", "Solution", "arguments_of", "assemble", "exported", "functional", "network_of", "quiet", "solve"]
