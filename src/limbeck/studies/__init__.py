"""Many runs: what several seeds say together."""

from limbeck.studies.statistics import (
    MIN_PAIRS,
    PairedDifference,
    Summary,
    holm,
    paired_difference,
    summarize,
)

__all__ = ["MIN_PAIRS", "PairedDifference", "Summary", "holm", "paired_difference", "summarize"]
