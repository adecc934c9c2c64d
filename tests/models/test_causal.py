"""Causal language models of Hugging Face: folders, some of their layers, configs and GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gguf_files import write_gguf
from language_models import llama, tokens
from limbeck.errors import LimbeckError
from limbeck.models import causal
from pretrained_folders import bert

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
FACTS = {"vocab_size": 300}
IDS = torch.arange(12)[None]


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network.eval()(IDS).logits
    return found


def test_a_folder_is_the_network_with_its_weights(tmp_path: Path) -> None:
    folder = llama(tmp_path)
    made = causal.build(f"hf:{folder}", FACTS)
    assert made.training
    assert torch.equal(logits(made), logits(transformers.AutoModelForCausalLM.from_pretrained(folder)))


def test_some_of_its_layers_make_a_smaller_one(tmp_path: Path) -> None:
    folder = llama(tmp_path, layers=4)
    whole: Any = causal.build(f"hf:{folder}", FACTS)
    small: Any = causal.build(f"hf:{folder}(layers=[0, 3])", FACTS)
    assert small.config.num_hidden_layers == 2
    del whole.model.layers[1:3]
    for number, layer in enumerate(whole.model.layers):
        layer.self_attn.layer_idx = number
    assert torch.equal(logits(small), logits(whole))
    assert small.lm_head.weight.shape == (300, 16)


def test_a_config_alone_gets_the_vocabulary_of_the_data() -> None:
    sizes = "hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2"
    torch.manual_seed(0)
    made: Any = causal.build(f'hf:config(model_type="llama", {sizes})', FACTS)
    assert type(made).__name__ == "LlamaForCausalLM"
    assert logits(made).shape == (1, 12, 300)
    assert (
        logits(causal.build(f'hf:config(model_type="llama", {sizes}, vocab_size=320)', FACTS)).shape[2] == 320
    )
    with pytest.raises(LimbeckError, match=r"hf:config has no argument 'hidden': .*; did you mean 'hidden_"):
        causal.build('hf:config(model_type="llama", hidden=8)', FACTS)
    with pytest.raises(LimbeckError, match="names its family"):
        causal.build("hf:config(hidden_size=8)", FACTS)


def test_the_special_tokens_are_those_of_the_data() -> None:
    sizes = "hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2"
    made: Any = causal.build(f'hf:config(model_type="llama", {sizes})', FACTS)
    causal.name_tokens(made, tokens().tokenizer)
    assert (made.config.bos_token_id, made.config.eos_token_id) == (0, 0)
    assert made.generation_config.eos_token_id == 0


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    encoder = bert(tmp_path / "encoder")
    with pytest.raises(
        LimbeckError, match="is a BertModel, and a language model that predicts the next token"
    ):
        causal.build(f"hf:{encoder}", FACTS)
    classifier = bert(tmp_path / "classifier", labels=["a", "b"])
    with pytest.raises(LimbeckError, match="is a BertForSequenceClassification"):
        causal.build(f"hf:{classifier}", FACTS)


def test_a_head_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = llama(tmp_path)
    body = transformers.AutoModel.from_pretrained(folder)
    body.config.architectures = None
    body.save_pretrained(tmp_path / "body")
    config = transformers.AutoConfig.from_pretrained(folder)
    config.save_pretrained(tmp_path / "body")
    with pytest.raises(LimbeckError, match=r"lm_head.weight is not among its weights"):
        causal.build(f"hf:{tmp_path / 'body'}", FACTS)


def test_a_gguf_file_is_the_network_and_its_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf is not installed")
    folder, reads = llama(tmp_path / "folder"), tokens()
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    (tmp_path / "alone").mkdir()
    file = write_gguf(network, reads.tokenizer, tmp_path / "alone" / "small.gguf")
    for place in (file, file.parent):
        torch.testing.assert_close(
            logits(causal.build(f"hf:{place}", FACTS)), logits(network), rtol=0, atol=1e-6
        )
    with pytest.raises(LimbeckError, match="there is no file"):
        causal.build(f"hf:{tmp_path / 'other.gguf'}", FACTS)
    write_gguf(network, reads.tokenizer, tmp_path / "alone" / "second.gguf")
    with pytest.raises(LimbeckError, match="holds 2 GGUF files; name one"):
        causal.build(f"hf:{file.parent}", FACTS)
