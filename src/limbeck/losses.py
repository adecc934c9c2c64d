"""Pure functions, tensors in, scalar out: every method's equation, for somebody else's framework."""

from __future__ import annotations

from limbeck.methods.ce import cross_entropy
from limbeck.methods.kd import kd

__all__ = ["cross_entropy", "kd"]
