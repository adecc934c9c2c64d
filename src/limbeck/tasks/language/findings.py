"""What is found out about a language model: the records."""

from __future__ import annotations

from limbeck.tasks.measuring import Findings


class Context(Findings):
    """The tokens that are predicted from about as many tokens before them.

    Attributes:
        first: fewest tokens that the prediction is made from.
        last: most tokens that it is made from.
        tokens: how many tokens were predicted so.
        nll: their mean negative log-likelihood in nats.
    """

    first: int
    last: int
    tokens: int
    nll: float


class LanguageFindings(Findings):
    """What is found out about a language model.

    Attributes:
        tokens: how many tokens were predicted.
        bytes: how many bytes of text they stand for; None where the data does not tell.
        nll: mean negative log-likelihood of a token in nats.
        accuracy: share of the tokens that are the most probable one of their prediction.
        contexts: by how much text a prediction is made from, the least first.
    """

    tokens: int
    bytes: int | None
    nll: float
    accuracy: float
    contexts: tuple[Context, ...]
