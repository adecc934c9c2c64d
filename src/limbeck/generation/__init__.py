"""Text that causal language models write, one alone or a student and its teacher together."""

from limbeck.generation.drawing import Drawing, noise
from limbeck.generation.interleaving import Blended, Noise, Written, blend, interleave, write
from limbeck.generation.stepping import Stepper, most_tokens, stepper

__all__ = [
    "Blended",
    "Drawing",
    "Noise",
    "Stepper",
    "Written",
    "blend",
    "interleave",
    "most_tokens",
    "noise",
    "stepper",
    "write",
]
