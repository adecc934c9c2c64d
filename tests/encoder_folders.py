"""Small folders of sentence encoders, written by hand as sentence-transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pretrained_folders import bert


def sentence_folder(
    folder: Path,
    *,
    pooling: str | Sequence[str] = "mean",
    normalize: bool = True,
    dense: int | None = None,
    max_length: int = 12,
    prompts: dict[str, str] | None = None,
    **options: Any,
) -> Path:
    """A BERT of random weights with a pooling, maybe a dense layer, and maybe a normalization."""
    bert(folder, **options)
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    write(folder / "modules.json", modules)
    write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    write(folder / "config_sentence_transformers.json", {"prompts": prompts or {}})
    for module in modules[1:]:
        (folder / str(module["path"])).mkdir()
    named = "pooling_mode_cls_token" if pooling == "cls" else "pooling_mode_mean_tokens"
    old = {"word_embedding_dimension": 16, named: True}
    new = {"embedding_dimension": 16, "pooling_mode": [*pooling]}
    write(folder / "1_Pooling" / "config.json", old if isinstance(pooling, str) else new)
    if dense:
        settings = {"in_features": 16, "out_features": dense, "bias": True}
        activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
        write(folder / "2_Dense" / "config.json", settings | activation)
        generator = torch.Generator().manual_seed(1)
        state = {
            "linear.weight": torch.randn(dense, 16, generator=generator),
            "linear.bias": torch.randn(dense, generator=generator),
        }
        save_file(state, folder / "2_Dense" / "model.safetensors")
    return folder


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value))
