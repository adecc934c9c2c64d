"""Finds logits, embedding, stages and stem in any network by one forward, and taps them with hooks."""

from limbeck.features.calling import call, logits_of, undisturbed, undone
from limbeck.features.find import describe, find
from limbeck.features.norms import BatchNorm, batch_norms
from limbeck.features.points import FeaturePoints, Point
from limbeck.features.tap import Tap, unfused

__all__ = [
    "BatchNorm",
    "FeaturePoints",
    "Point",
    "Tap",
    "batch_norms",
    "call",
    "describe",
    "find",
    "logits_of",
    "undisturbed",
    "undone",
    "unfused",
]
