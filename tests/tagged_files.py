"""Small CoNLL files of sentences with names in them, and folders of networks that label their words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

NAMES = ("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O")
"""The tags in the order that the data gives them."""

FIRST = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald"]
LAST = ["Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth"]
PLACES = [["Graz"], ["Lisbon"], ["New", "Haven"], ["San", "Remo"], ["Oslo"]]
FIRMS = [["Acme", "Works"], ["Initech"], ["Globex", "Trading", "House"]]
PLAIN = ["went", "wrote", "today", "and", "then", "slept", "again", "often", "home", "late"]


def sentences(count: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Sentences of 3 to 14 words, with their tags in IOB2."""
    draw, made = random.Random(seed), []
    for _ in range(count):
        words: list[str] = []
        tags: list[str] = []

        def add(kind: str, some: Sequence[str], words: list[str] = words, tags: list[str] = tags) -> None:
            words += some
            tags += ["O"] * len(some) if kind == "O" else [f"B-{kind}", *[f"I-{kind}"] * (len(some) - 1)]

        add("PER", [draw.choice(FIRST), *([draw.choice(LAST)] if draw.random() < 0.7 else [])])
        add("O", draw.sample(PLAIN, draw.randint(1, 3)))
        if draw.random() < 0.7:
            add("O", ["in"])
            add("LOC", draw.choice(PLACES))
        if draw.random() < 0.6:
            add("O", ["for"])
            add("ORG", draw.choice(FIRMS))
        add("O", [*draw.sample(PLAIN, draw.randint(1, 2)), "."])
        made.append((words, tags))
    return made


def conll(some: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Sentences as the text of a CoNLL file, with a column in between and a line that begins a document."""
    lines = ["-DOCSTART- -X- O", ""]
    for words, tags in some:
        lines += [f"{word} NN {tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    return "\n".join(lines)


def write_conll(folder: Path, train: int = 80, validation: int = 20, test: int = 30) -> Path:
    """A folder with train.conll, validation.conll and test.conll; those of no sentences are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate({"train": train, "validation": validation, "test": test}.items()):
        if count:
            (folder / f"{name}.conll").write_text(conll(sentences(count, seed)))
    return folder


def write_jsonl(file: Path, some: Sequence[tuple[Sequence[str], Any]], tags: str = "ner_tags") -> Path:
    """A file with a sentence a row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"tokens": words, **({} if each is None else {tags: each})} for words, each in some)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def tokenizer(vocab_size: int = 90, most: int = 40, padding_side: str = "right") -> Any:
    """A WordPiece tokenizer of the words above, with a vocabulary so small that many are several tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    made.train_from_iterator([" ".join(words) for words, _ in sentences(40, 7)], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    kind: Any = PreTrainedTokenizerFast
    return kind(
        tokenizer_object=made,
        model_max_length=most,
        padding_side=padding_side,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def tagger(
    folder: Path, *, labels: Sequence[str] | None = None, layers: int = 2, seed: int = 0, **tokens: Any
) -> Path:
    """A folder with a BERT of random weights: an encoder alone, or with a head for some labels of words."""
    import transformers

    made = tokenizer(**tokens)
    config = transformers.BertConfig(
        vocab_size=len(made),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    if labels is not None:
        config.id2label, config.label2id = dict(enumerate(labels)), {n: i for i, n in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = transformers.BertModel if labels is None else transformers.BertForTokenClassification
        kind(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
