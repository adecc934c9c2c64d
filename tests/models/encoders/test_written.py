"""Folders that are written: read back, they give the same embeddings; the files are those of the peer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from encoder_folders import sentence_folder
from limbeck.models.encoders import encoder, static, write

pytest.importorskip("transformers", reason="transformers is not installed")
IDS = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        ({}, "(layers=2)"),
        ({"dense": 5, "pooling": "cls"}, ""),
        ({"pooling": ["max", "cls"], "normalize": False}, ""),
    ],
)
def test_a_written_encoder_answers_the_same(tmp_path: Path, made: dict[str, object], arguments: str) -> None:
    source = sentence_folder(tmp_path / "source", **made)  # type: ignore[arg-type]
    network = encoder(f"hf:{source}{arguments}").eval()
    (folder := tmp_path / "written").mkdir()
    write(network, folder, 12, {"query": "q: "})
    again = encoder(f"hf:{folder}").eval()
    assert torch.equal(again(**IDS), network(**IDS))
    assert json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"] == {
        "query": "q: "
    }


def test_the_pooling_is_written_as_every_version_reads_it(tmp_path: Path) -> None:
    network = encoder(f"hf:{sentence_folder(tmp_path / 'source', pooling='cls')}")
    (folder := tmp_path / "written").mkdir()
    write(network, folder, 12, {})
    written = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert written["word_embedding_dimension"] == 16
    assert [name for name, flag in written.items() if flag is True] == ["pooling_mode_cls_token"]
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 12
    types = [module["type"] for module in json.loads((folder / "modules.json").read_text())]
    assert types == [
        f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize")
    ]


def test_a_written_table_answers_the_same(tmp_path: Path) -> None:
    source = sentence_folder(tmp_path / "source")
    network = static(str(source), dim=4).eval()
    (folder := tmp_path / "written").mkdir()
    write(network, folder, 12, {})
    (folder / "tokenizer.json").write_text((source / "tokenizer.json").read_text())
    assert torch.equal(encoder(f"hf:{folder}").eval()(**IDS), network(**IDS))
