"""Small folders as `save_pretrained` writes them: networks of random weights, a tokenizer of a few words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

KINDS = {
    "weather": ["snow", "rain", "storm", "sun", "wind", "cloud"],
    "food": ["soup", "bread", "cheese", "wine", "salad", "rice"],
    "travel": ["ticket", "road", "boat", "hotel", "train", "map"],
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 3 to 12 words, most of them of one kind, with the kind."""
    draw, made = random.Random(seed), []
    every = [word for words in KINDS.values() for word in words]
    for _ in range(count):
        kind = draw.choice([*KINDS])
        words = [
            draw.choice(KINDS[kind] if draw.random() < 0.85 else every) for _ in range(draw.randint(3, 12))
        ]
        made.append((" ".join(words), kind))
    return made


def write_texts(folder: Path, train: int = 120, test: int = 40) -> Path:
    """A folder with train.csv and test.csv of such texts."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate({"train": train, "test": test}.items()):
        rows = "".join(f"{text},{kind}\n" for text, kind in texts(count, seed))
        (folder / f"{name}.csv").write_text(f"text,label\n{rows}")
    return folder


def tokenizer(*, most: int = 16, pad: bool = True, padding_side: str = "right") -> Any:
    """A WordPiece tokenizer of those words, each of which is one token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    # Written out, because a trainer makes other pieces each time, in another order.
    words = sorted({word for words in KINDS.values() for word in words})
    letters = sorted(set("".join(words)))
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    kind: Any = PreTrainedTokenizerFast
    return kind(
        tokenizer_object=made,
        model_max_length=most,
        padding_side=padding_side,
        **special,
        **({"pad_token": "[PAD]"} if pad else {}),
    )


def bert(
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    layers: int = 4,
    hidden_size: int = 16,
    initializer_range: float = 0.02,
    seed: int = 0,
    **tokens: Any,
) -> Path:
    """A folder with a BERT of random weights: an encoder alone, or with a head for some labels."""
    import transformers

    made = tokenizer(**tokens)
    config = transformers.BertConfig(
        vocab_size=len(made),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        initializer_range=initializer_range,
        max_position_embeddings=32,
    )
    if labels is not None:
        config.id2label, config.label2id = dict(enumerate(labels)), {n: i for i, n in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = transformers.BertModel if labels is None else transformers.BertForSequenceClassification
        kind(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
