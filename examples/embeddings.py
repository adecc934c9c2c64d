"""Distills a sentence encoder into a table of vectors, which finds answers as fast as tokens are looked up.

A small BERT learns from 60 made-up questions and answers, the student alone from 6 of them, and the distilled
one from the teacher's embeddings of single sentences. Nothing is downloaded.
"""

from __future__ import annotations

import csv
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import limbeck

Pairs = list[tuple[str, str]]
PLACES = [a + b for a in ("ash", "oak", "elm", "fern", "moss") for b in ("ford", "ham", "ton", "by")]
ASPECTS = {
    "does it rain in {}": "it is often wet in {} and mild",
    "what do people eat in {}": "{} is known for bread and cheese",
    "how do I get to {}": "the station of {} is on the northern line",
    "what can one see in {}": "{} has a gallery and an old mill",
}
SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def encoder(folder: Path, sentences: Sequence[str]) -> None:
    """Writes a small BERT with fresh weights, whose tokens are the words of the sentences."""
    words = sorted({word for sentence in sentences for word in sentence.lower().split()})
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **SHAPE)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def written(folder: Path, training: Pairs, test: Pairs) -> str:
    """Writes pairs for training and test, and returns how a run names them."""
    folder.mkdir()
    for split, rows in {"train": training, "test": test}.items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
    return f'pairs(path="{folder}", query="question", positive="answer")'


def main(folder: str, epochs: int = 40) -> dict[str, float]:
    """nDCG@10 of searching the answers for held-out questions."""
    torch.set_num_threads(1)
    base = Path(folder, "bert")
    made = [(question.format(at), answer.format(at)) for question, answer in ASPECTS.items() for at in PLACES]
    random.Random(0).shuffle(made)
    encoder(base, [sentence for pair in made for sentence in pair])
    common: dict[str, Any] = {"epochs": epochs, "batch_size": 40, "lr": 2e-3, "display": False}
    common["settings"] = {"training.trackers": [], "training.optimizer": "adamw"}
    every = written(Path(folder, "every"), made[:60], made[60:])
    few = written(Path(folder, "few"), made[:6], made[60:])
    teacher = limbeck.train(model=f"hf:{base}", data=every, out=f"{folder}/teacher", **common)
    static, common["out"] = f'static("{base}", dim=32)', f"{folder}/alone"
    alone = limbeck.train(model=static, data=few, **common)
    common["out"] = f"{folder}/distilled"
    distilled = limbeck.distill(student=static, teacher=teacher, data=every, objective="cosine", **common)
    found = {}
    for name, run in {"teacher": teacher, "student alone": alone, "distilled": distilled}.items():
        found[name] = run.result.metrics.on("test")["ndcg10"]
        print(f"{name}: nDCG@10 {found[name]:.3f}, {run.result.student.parameters:,} parameters")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
