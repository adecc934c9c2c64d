"""The loop: optimisation, checkpoints and progress, for phases and training alike."""

from limbeck.training.stage import Stage
from limbeck.training.trainer import Trainer

__all__ = ["Stage", "Trainer"]
