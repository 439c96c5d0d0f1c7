"""The ways of packets, as the state of an arm predicts them."""

from labkit.analysis.paths.explain import Model
from labkit.analysis.paths.hops import HOPS
from labkit.analysis.paths.state import State

__all__ = ["HOPS", "Model", "State"]
