"""The weights of a GGUF file as a folder of transformers, which is read in a second and not in a minute."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from limbeck.data.language.tokenizer import of_place
from limbeck.models import causal


def folder_of(gguf: Path, folder: Path) -> Path:
    """The folder with network and tokenizer of a file, made where it is not there yet."""
    if not folder.is_dir():
        begun = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        network: Any = causal.build(f"hf:{gguf}", {})
        network.hf_quantizer = None  # its weights are in float32 by now
        network.config.quantization_config = None
        network.save_pretrained(begun)
        of_place(str(gguf)).tokenizer.save_pretrained(begun)
        begun.rename(folder)
    return folder
