"""The trainer: optimization, checkpoints and progress, for phases and training alike."""

from limbeck.optional import need

need("limbeck.training", "data", "run")

from limbeck.stopping import Interrupted, Terminated
from limbeck.training.guard import DivergenceError
from limbeck.training.loop import Loop, ModuleLoop
from limbeck.training.phases import phase_loops, prepare
from limbeck.training.trainer import Trainer

__all__ = [
    "DivergenceError",
    "Interrupted",
    "Loop",
    "ModuleLoop",
    "Terminated",
    "Trainer",
    "phase_loops",
    "prepare",
]
