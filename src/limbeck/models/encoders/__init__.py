"""Sentence encoders: networks whose output is one embedding for each text."""

from __future__ import annotations

from limbeck.models.encoders.build import (
    config_of,
    encoder,
    from_config,
    is_encoder,
    static,
    static_of,
    static_source,
)
from limbeck.models.encoders.cross import CrossEncoder, cross_encoder, is_cross_encoder
from limbeck.models.encoders.folder import Layout, layout
from limbeck.models.encoders.network import DenseSettings, EncoderSettings, SentenceEncoder
from limbeck.models.encoders.static import StaticEncoder
from limbeck.models.encoders.written import write

__all__ = [
    "CrossEncoder",
    "DenseSettings",
    "EncoderSettings",
    "Layout",
    "SentenceEncoder",
    "StaticEncoder",
    "config_of",
    "cross_encoder",
    "encoder",
    "from_config",
    "is_cross_encoder",
    "is_encoder",
    "layout",
    "static",
    "static_of",
    "static_source",
    "write",
]
