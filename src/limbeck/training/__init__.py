"""The loop: optimization, checkpoints and progress, for phases and training alike."""

from limbeck.training.guard import DivergenceError
from limbeck.training.loop import Stage
from limbeck.training.trainer import Trainer

__all__ = ["DivergenceError", "Stage", "Trainer"]
