"""Text that causal language models write, one alone or a student and its teacher together."""

from limbeck.generation.drawing import Drawing, noise
from limbeck.generation.interleaving import Noise, Written, interleave, write
from limbeck.generation.stepping import Stepper, stepper

__all__ = ["Drawing", "Noise", "Stepper", "Written", "interleave", "noise", "stepper", "write"]
