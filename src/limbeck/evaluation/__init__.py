"""What a network is worth: its answers, how right and how calibrated they are, and what they cost."""

from limbeck.evaluation.cka import LinearCKA, hsic
from limbeck.evaluation.complexity import supervision_complexity, tangent_kernel
from limbeck.evaluation.contenders import Contender
from limbeck.evaluation.corruptions import SEVERITIES, corrupt, corruptions
from limbeck.evaluation.cost import Latency, latencies, latency, multiply_adds, peak_bytes, weight_bytes
from limbeck.evaluation.measure import compare, inference, measure, metrics
from limbeck.evaluation.results import Evaluation
from limbeck.evaluation.robustness import Robustness, robustness
from limbeck.evaluation.suite import evaluate
from limbeck.evaluation.supervision import supervision
from limbeck.tasks.classification.accuracy import accuracy, confusion, nll
from limbeck.tasks.classification.calibration import calibration, ece, reliability, temperature
from limbeck.tasks.classification.fidelity import (
    agreement,
    class_correlation,
    correlation_difference,
    divergence,
)
from limbeck.tasks.parts.rates import rate, wilson

__all__ = [
    "SEVERITIES",
    "Contender",
    "Evaluation",
    "Latency",
    "LinearCKA",
    "Robustness",
    "accuracy",
    "agreement",
    "calibration",
    "class_correlation",
    "compare",
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
    "measure",
    "metrics",
    "multiply_adds",
    "nll",
    "peak_bytes",
    "rate",
    "reliability",
    "robustness",
    "supervision",
    "supervision_complexity",
    "tangent_kernel",
    "temperature",
    "weight_bytes",
    "wilson",
]
