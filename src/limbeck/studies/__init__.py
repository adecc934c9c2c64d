"""Many runs: what several seeds say together."""

from limbeck.optional import need

need("limbeck.studies", "data", "run")

from limbeck.studies.statistics import (
    MIN_PAIRS,
    PairedDifference,
    Summary,
    holm,
    paired_difference,
    summarize,
)

__all__ = ["MIN_PAIRS", "PairedDifference", "Summary", "holm", "paired_difference", "summarize"]
