"""Pure functions, tensors in, scalar out: every method's equation, for somebody else's framework."""

from __future__ import annotations

from limbeck.methods.at import attention_transfer
from limbeck.methods.ce import cross_entropy
from limbeck.methods.dml import mutual_learning
from limbeck.methods.fitnet import fitnet
from limbeck.methods.icd import icd
from limbeck.methods.kd import kd
from limbeck.methods.lwkd import lwkd
from limbeck.methods.sp import similarity_preserving
from limbeck.methods.tfkd import tfkd

__all__ = [
    "attention_transfer",
    "cross_entropy",
    "fitnet",
    "icd",
    "kd",
    "lwkd",
    "mutual_learning",
    "similarity_preserving",
    "tfkd",
]
