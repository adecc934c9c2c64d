"""What a network is worth: its answers, how right and how calibrated they are, and what they cost."""

from limbeck.evaluation.cost import Latency, latency
from limbeck.evaluation.metrics import agreement, ece, metrics, wilson
from limbeck.evaluation.predict import Predictions, inference, predict

__all__ = [
    "Latency",
    "Predictions",
    "agreement",
    "ece",
    "inference",
    "latency",
    "metrics",
    "predict",
    "wilson",
]
