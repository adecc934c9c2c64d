"""Networks of transformers in rows that hold several documents answer as for each document alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.features import call
from limbeck.features.documents import places, within_documents

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GPT2 = {
    **{key: SMALL[key] for key in ("vocab_size", "initializer_range", "bos_token_id", "eos_token_id")},
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
}
LENGTHS = (5, 9, 3)


def network(family: str, attention: str = "sdpa", **settings: Any) -> Any:
    config = transformers.AutoConfig.for_model(
        family, **{**(GPT2 if family == "gpt2" else SMALL), **settings}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return made.eval()


def documents() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(1, 50, (1, length), generator=draw) for length in LENGTHS]


def packed() -> dict[str, Tensor]:
    """The documents in one row, and two positions of padding."""
    numbers = [number for number, length in enumerate(LENGTHS, 1) for _ in range(length)]
    position = [place for length in LENGTHS for place in range(length)]
    ids = torch.cat([*documents(), torch.zeros(1, 2, dtype=torch.int64)], 1)
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor([[*numbers, 0, 0]]),
        "position_ids": torch.tensor([[*position, 0, 0]]),
    }


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
@torch.no_grad()
def test_a_document_of_a_row_answers_as_it_does_alone(family: str, attention: str) -> None:
    made = network(family, attention)
    apart = torch.cat([made(each).logits for each in documents()], 1)
    together = call(made, packed()).logits[:, :-2]
    assert apart.abs().max() > 0.5
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@torch.no_grad()
def test_it_does_so_in_bfloat16_too() -> None:
    made = network("llama")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        together = call(made, packed()).logits[:, :-2]
    apart = torch.cat([made(each).logits for each in documents()], 1)
    torch.testing.assert_close(together.float(), apart, rtol=0.05, atol=0.05)


def test_nothing_is_kept_of_the_tokens_before() -> None:
    made = network("llama")
    inputs = {"input_ids": documents()[0], "attention_mask": torch.ones(1, 5, dtype=torch.int64)}
    assert call(made, inputs).past_key_values is None
    assert made(**inputs).past_key_values is not None  # as its config says


def test_networks_that_would_mix_documents_are_refused() -> None:
    windowed = network("mistral", sliding_window=8)
    with pytest.raises(LimbeckError, match="attends to 8 tokens, and rows of 19 hold several documents"):
        call(windowed, packed())
    bloom = network("bloom", "eager", n_layer=1, n_head=2)
    with pytest.raises(LimbeckError, match=r"BloomForCausalLM takes no position_ids.*pack=false"):
        call(bloom, packed())


def test_a_classifier_is_called_as_ever() -> None:
    config = transformers.BertConfig(**{**SMALL, "max_position_embeddings": 16})
    made = transformers.BertForSequenceClassification(config).eval()
    ids = documents()[0]
    assert torch.equal(call(made, {"input_ids": ids}).logits, made(input_ids=ids).logits)


def test_masks_and_places_by_hand() -> None:
    numbers = torch.tensor([[1, 1, 2, 0]])
    assert within_documents(numbers)[0, 0].tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]
    assert places(torch.tensor([[0, 0, 1, 1, 1, 2]])).tolist() == [[0, 1, 0, 1, 2, 0]]
