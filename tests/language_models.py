"""Small folders of causal language models as `save_pretrained` writes them, and texts for them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from limbeck.data.language.tokenizer import learned
from limbeck.data.tokenization import Tokenization

NAMES = ["Tim", "Sue", "Ann", "Max"]
THINGS = ["ball", "box", "cat", "tree", "boat"]
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A chat template without marks."""

MARKED = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}{{ eos_token }}{% endgeneration %}{% else %}"
    "{{ m['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The same, with marks around what the assistant says."""


def stories(count: int, seed: int = 0) -> list[str]:
    """Stories of one to four sentences that are much alike."""
    draw, made = random.Random(seed), []
    for _ in range(count):
        name, thing = draw.choice(NAMES), draw.choice(THINGS)
        sentences = [
            f"{name} saw a {thing}.",
            f"The {thing} was big.",
            f"{name} liked the {thing}.",
            "The end.",
        ]
        made.append(" ".join(sentences[: draw.randint(1, 4)]))
    return made


def write_stories(folder: Path, count: int = 60) -> Path:
    """A file of plain text with stories between blank lines."""
    file = folder / "stories.txt"
    file.write_text("\n\n".join(stories(count)), encoding="utf-8")
    return file


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def tokens(template: str | None = None, *, size: int = 300, seed: int = 0) -> Tokenization:
    """A tokenizer that has been trained on such stories."""
    made = learned(stories(60, seed), size)
    made.tokenizer.chat_template = template
    return made


def llama(
    folder: Path, *, layers: int = 3, seed: int = 0, padded: int = 0, reads: Tokenization | None = None
) -> Path:
    """A folder with a Llama of random weights and a tokenizer.

    Args:
        folder: where it goes.
        layers: how many.
        seed: of the weights.
        padded: outputs beyond the ids of the tokenizer.
        reads: the tokenizer; `tokens()` if None.
    """
    import transformers

    reads = tokens() if reads is None else reads
    config = transformers.LlamaConfig(
        vocab_size=len(reads.tokenizer) + padded,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = transformers.LlamaForCausalLM(config)
    network.save_pretrained(folder)
    reads.save(folder)
    return folder
