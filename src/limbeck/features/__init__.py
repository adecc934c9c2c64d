"""Finds logits, embedding, stages and stem in any network by one forward, and taps them with hooks."""

from limbeck.features.answers import as_logits, order_of, probabilities, reordered
from limbeck.features.by_word import by_word
from limbeck.features.calling import call, precision_of, set_mode, undisturbed, undone
from limbeck.features.entering import Entered
from limbeck.features.find import answering, describe, find
from limbeck.features.head import find_head
from limbeck.features.logits import logits_of, width_of
from limbeck.features.norms import BatchNorm, batch_norms
from limbeck.features.points import FeaturePoints, Head, Point
from limbeck.features.sizes import check_sizes
from limbeck.features.tap import Tap, unfused

__all__ = [
    "BatchNorm",
    "Entered",
    "FeaturePoints",
    "Head",
    "Point",
    "Tap",
    "answering",
    "as_logits",
    "batch_norms",
    "by_word",
    "call",
    "check_sizes",
    "describe",
    "find",
    "find_head",
    "logits_of",
    "order_of",
    "precision_of",
    "probabilities",
    "reordered",
    "set_mode",
    "undisturbed",
    "undone",
    "unfused",
    "width_of",
]
