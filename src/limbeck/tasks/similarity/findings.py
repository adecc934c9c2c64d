"""What is found out about a network that tells how alike two texts are: the records."""

from __future__ import annotations

from limbeck.tasks.measuring import Findings


class SimilarityFindings(Findings):
    """What is found out about one network on one split.

    Attributes:
        pairs: how many pairs have a score.
        dimensions: numbers of an embedding.
        zero: texts whose embedding has length 0.
        points: (score of the data, score of the network) of some pairs, the same ones for every network.
    """

    pairs: int
    dimensions: int
    zero: int
    points: tuple[tuple[float, float], ...]
