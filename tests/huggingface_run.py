"""A finished run of a small Hugging Face network, which several tests export."""

from __future__ import annotations

from pathlib import Path

import limbeck
from limbeck.runs import Run
from pretrained_folders import bert, write_texts


def finished(folder: Path) -> Run:
    """An encoder fine-tuned on a few texts."""
    encoder, corpus = bert(folder / "encoder", most=8, layers=2), write_texts(folder / "corpus", train=60)
    return limbeck.train(
        model=f"hf:{encoder}",
        data="text",
        data_dir=corpus,
        epochs=2,
        lr=1e-2,
        batch_size=16,
        settings={"training.trackers": [], "training.optimizer": {"name": "adamw"}},
        display=False,
        out=folder / "run",
    )
