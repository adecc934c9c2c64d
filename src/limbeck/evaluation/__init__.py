"""What a network is worth: its answers, how right and how calibrated they are, and what they cost."""

from limbeck.evaluation.calibration import calibration, ece, reliability, temperature
from limbeck.evaluation.cka import LinearCKA, hsic
from limbeck.evaluation.contenders import Contender
from limbeck.evaluation.corruptions import SEVERITIES, corrupt, corruptions
from limbeck.evaluation.cost import Latency, latencies, latency, multiply_adds, peak_bytes, weight_bytes
from limbeck.evaluation.fidelity import agreement, class_correlation, correlation_difference, divergence
from limbeck.evaluation.metrics import accuracy, confusion, metrics, nll, rate, wilson
from limbeck.evaluation.predict import Predictions, inference, predict
from limbeck.evaluation.results import Evaluation
from limbeck.evaluation.robustness import robustness
from limbeck.evaluation.suite import evaluate

__all__ = [
    "SEVERITIES",
    "Contender",
    "Evaluation",
    "Latency",
    "LinearCKA",
    "Predictions",
    "accuracy",
    "agreement",
    "calibration",
    "class_correlation",
    "confusion",
    "correlation_difference",
    "corrupt",
    "corruptions",
    "divergence",
    "ece",
    "evaluate",
    "hsic",
    "inference",
    "latencies",
    "latency",
    "metrics",
    "multiply_adds",
    "nll",
    "peak_bytes",
    "predict",
    "rate",
    "reliability",
    "robustness",
    "temperature",
    "weight_bytes",
    "wilson",
]
