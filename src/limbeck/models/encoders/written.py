"""Writes encoders as folders that sentence-transformers loads."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from limbeck.models.encoders.folder import FLAGS, MODULES, names
from limbeck.models.encoders.network import Dense, SentenceEncoder
from limbeck.models.encoders.pooling import Pooling
from limbeck.models.encoders.static import StaticEncoder
from limbeck.optional import imported
from limbeck.pretrained import EXTRA, quiet


def write(network: nn.Module, folder: Path, max_length: int, prompts: Mapping[str, str]) -> None:
    """Writes the weights and what is behind them; the tokenizer is for the caller to write beside them.

    Args:
        network: a `SentenceEncoder` or a `StaticEncoder`.
        folder: an empty folder.
        max_length: tokens that a text is cut to.
        prompts: what is put before a text, by the kind of the text.
    """
    kinds = _encoder(network, folder, max_length) if isinstance(network, SentenceEncoder) else []
    if isinstance(network, StaticEncoder):
        kinds = ["StaticEmbedding", *(["Normalize"] if network.normalize else [])]
        save_file(
            {"embedding.weight": network.table.weight.detach().contiguous()}, folder / "model.safetensors"
        )
    if kinds[-1] == "Normalize":
        (place := folder / names(kinds)[-1]["path"]).mkdir()
        _json(
            place / "config.json", {f"module_{end}_name": "sentence_embedding" for end in ("input", "output")}
        )
    _json(folder / MODULES, names(kinds))
    _json(
        folder / "config_sentence_transformers.json",
        {"prompts": dict(prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def _encoder(network: SentenceEncoder, folder: Path, max_length: int) -> list[str]:
    settings = network.settings
    kinds = ["Transformer", "Pooling", *("Dense" for _ in settings.dense)]
    body: Any = copy.deepcopy(network.body)
    with quiet(imported("transformers", EXTRA)), torch.no_grad(), torch.random.fork_rng(devices=[]):
        body.pooler = getattr(type(body)(body.config), "pooler", None)
        for tensor in body.pooler.parameters() if body.pooler is not None else ():
            tensor.zero_()  # nothing here reads it, and without it transformers would report it as missing
        body.save_pretrained(folder)
    _json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    entries = names(kinds)
    (folder / entries[1]["path"]).mkdir()
    _json(folder / entries[1]["path"] / "config.json", _pooling(body.config.hidden_size, settings.pooling))
    for entry, layer in zip(entries[2:], network.dense, strict=True):
        assert isinstance(layer, Dense)
        (folder / entry["path"]).mkdir()
        _json(folder / entry["path"] / "config.json", layer.settings.model_dump())
        state = {key: tensor.detach().contiguous() for key, tensor in layer.state_dict().items()}
        save_file(state, folder / entry["path"] / "model.safetensors")
    return [*kinds, *(["Normalize"] if settings.normalize else [])]


def _pooling(width: int, poolings: Sequence[Pooling]) -> dict[str, Any]:
    """The config of the pooling: of a single one as every version reads it, of several with their order."""
    if len(poolings) > 1:
        return {"embedding_dimension": width, "pooling_mode": [*poolings], "include_prompt": True}
    flags = {flag: pooling in poolings for flag, pooling in FLAGS.items()}
    return {"word_embedding_dimension": width, **flags}


def _json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
