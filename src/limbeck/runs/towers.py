"""Networks of two towers in a run: how they are built, and what they read."""

from __future__ import annotations

from limbeck.data.towers import TowerTokenization
from limbeck.errors import LimbeckError
from limbeck.models import encoders, huggingface
from limbeck.models.encoders.towers import Towers, towers_of
from limbeck.notation import Call
from limbeck.runs.huggingface import of_encoder, tokens_of_static


def build(call: Call) -> Towers:
    """The network, in training mode.

    Args:
        call: `towers(...)`.
    Raises:
        LimbeckError: for a tower that is no encoder of a folder, and for two of different widths.
    """
    query, document = (_encoder(str(each)) for each in call.args)
    widths = [int(each.width) for each in (query, document)]
    if widths[0] != widths[1]:
        raise LimbeckError(
            f"the query tower gives {widths[0]} numbers and the document tower {widths[1]}; give towers of "
            f"one width, such as hf:FOLDER(dim={widths[1]}) for the queries"
        )
    return Towers(query, document, freeze=bool(call.kwargs.get("freeze", False))).train()


def preparation(call: Call) -> TowerTokenization:
    """What the network reads."""
    reads = []
    for each in map(str, call.args):
        source = encoders.static_source(each)
        reads.append(of_encoder(huggingface.read(each)) if source is None else tokens_of_static(source))
    return TowerTokenization.of(*reads)


def _encoder(spec: str) -> encoders.SentenceEncoder | encoders.StaticEncoder:
    if encoders.static_source(spec) is not None:
        return encoders.static_of(spec)
    if not huggingface.is_hf(spec):
        raise LimbeckError(f"a tower is an encoder, hf:FOLDER or static(...), not {spec!r}")
    return encoders.encoder(spec)


__all__ = ["build", "preparation", "towers_of"]
