"""Encoders by name: what a folder of sentence-transformers or of transformers becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from encoder_folders import sentence_folder, write
from limbeck.data.tokenization import tokenization
from limbeck.errors import LimbeckError
from limbeck.features import Tap, find
from limbeck.models.encoders import StaticEncoder, config_of, encoder, from_config, layout, static, static_of
from limbeck.models.encoders.distilled import words
from limbeck.models.huggingface import read
from limbeck.runs.huggingface import of_encoder, tokens_of_static
from pretrained_folders import bert

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
CASED = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False}
IDS = {
    "input_ids": torch.tensor([[2, 5, 6, 3, 0], [2, 7, 8, 9, 3]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]),
}


def tokens_by_hand(folder: Path) -> Tensor:
    body = transformers.AutoModel.from_pretrained(folder).eval()
    hidden: Tensor = body(**IDS).last_hidden_state
    return hidden


def mean_by_hand(folder: Path) -> Tensor:
    hidden = tokens_by_hand(folder)
    return torch.stack([hidden[0, :4].mean(0), hidden[1].mean(0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_folder(tmp_path_factory.mktemp("encoders") / "mean")


def test_a_folder_of_sentence_transformers_pools_and_normalizes_as_it_says(folder: Path) -> None:
    network = encoder(f"hf:{folder}")
    assert network.training
    expected = torch.nn.functional.normalize(mean_by_hand(folder), dim=-1)
    torch.testing.assert_close(network.eval()(**IDS), expected)


def test_a_dense_layer_stands_behind_the_pooling(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "dense", pooling="cls", normalize=False, dense=5)
    generator = torch.Generator().manual_seed(1)
    weight, bias = (torch.randn(size, generator=generator) for size in ((5, 16), (5,)))
    expected = torch.tanh(tokens_by_hand(folder)[:, 0] @ weight.T + bias)
    torch.testing.assert_close(encoder(f"hf:{folder}").eval()(**IDS), expected)


def test_a_plain_folder_is_pooled_by_the_mean_unless_the_arguments_say_otherwise(tmp_path: Path) -> None:
    folder = bert(tmp_path / "plain")
    unit = torch.nn.functional.normalize(mean_by_hand(folder), dim=-1)
    torch.testing.assert_close(encoder(f"hf:{folder}").eval()(**IDS), unit)
    network = encoder(f'hf:{folder}(pooling=["cls", "mean"], normalize=false)').eval()
    both = torch.cat([tokens_by_hand(folder)[:, 0], mean_by_hand(folder)], 1)
    torch.testing.assert_close(network(**IDS), both)


def test_fewer_layers_keep_the_first_and_the_last(folder: Path) -> None:
    small, whole = (encoder(spec).state_dict() for spec in (f"hf:{folder}(layers=2)", f"hf:{folder}"))
    name = "body.encoder.layer.{}.attention.self.query.weight".format
    assert name(2) not in small
    for ours, theirs in ((0, 0), (1, 3)):
        assert torch.equal(small[name(ours)], whole[name(theirs)])


def test_the_embedding_is_what_the_network_returns(folder: Path) -> None:
    network = encoder(f"hf:{folder}").eval()
    outputs = Tap(network, find(network, IDS), ["embedding", "stages"])(IDS)
    assert torch.equal(outputs.embedding, outputs.logits)
    assert [tuple(stage.shape) for stage in outputs.stages] == [(2, 5, 16)] * 4


def test_a_config_builds_the_network_again(folder: Path) -> None:
    network = encoder(f"hf:{folder}(layers=2)")
    text = config_of(network)
    assert text is not None
    again = from_config(text)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(**IDS), network.eval()(**IDS))


def test_static_embeddings_are_the_principal_components_of_the_tokens_alone(folder: Path) -> None:
    network = static(str(folder), dim=4, weights="none", normalize=False)
    teacher = encoder(f"hf:{folder}(normalize=false)").eval()
    plain = range(4, network.table.num_embeddings)  # those before are special
    alone = torch.tensor([[2, token, 3] for token in plain])
    with torch.no_grad():
        vectors = teacher(input_ids=alone, attention_mask=torch.ones_like(alone)).double()
    vectors /= vectors.norm(dim=1).mean()
    centered = vectors - vectors.mean(0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    found = network.table.weight.detach().double()
    torch.testing.assert_close(
        found[plain] @ found[plain].T,
        centered @ directions[:4].T @ directions[:4] @ centered.T,
        atol=1e-5,
        rtol=1e-4,
    )
    assert not found[:4].any(), "special tokens say nothing of a text"


def test_static_weights_fall_with_the_frequency_of_a_token(folder: Path) -> None:
    plain, weighted = (static(str(folder), dim=4, weights=each).table.weight for each in ("none", "sif"))
    inverse = 1 / torch.arange(2, len(plain) - 4 + 2, dtype=torch.float64)  # special tokens have no rank
    expected = 1e-4 / (1e-4 + inverse / inverse.sum())
    ratio = (weighted[4:].norm(dim=1) / plain[4:].norm(dim=1)).double()
    torch.testing.assert_close(ratio, expected, rtol=1e-4, atol=0)


def test_placeholders_have_no_rank_and_no_vector() -> None:
    tokens = ["[PAD]", "[unused0]", "[CLS]", "the", "<unused7>", "[unused1]a", "madeupword0000", "snow"]
    assert words(tokens, special={0, 2}).tolist() == [3, 5, 7]


def test_static_vectors_are_those_before_the_normalization(tmp_path: Path) -> None:
    scaled, plain = (
        static(str(sentence_folder(tmp_path / f"{each}", normalize=each)), dim="none", weights="none")
        for each in (True, False)
    )
    lengths = plain.table.weight[4:].norm(dim=1)
    torch.testing.assert_close(scaled.table.weight * lengths.mean(), plain.table.weight)
    assert lengths.max() > 1.02 * lengths.mean()


def test_a_static_text_is_the_mean_of_its_tokens(folder: Path) -> None:
    network = static(str(folder), dim=4, normalize=False).eval()
    table = network.table.weight
    expected = torch.stack([table[[2, 5, 6, 3]].mean(0), table[[2, 7, 8, 9, 3]].mean(0)])
    torch.testing.assert_close(network(**IDS), expected)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:{}(pooling='meen')", "unknown pooling of hf:.* 'meen'; did you mean 'mean'"),
        ("hf:{}(layers=9)", "has 4 layers, so 9 of them cannot be kept"),
        ('hf:config(model_type="bert")', "an encoder starts from trained ones"),
    ],
)
def test_arguments_that_cannot_be_are_refused(folder: Path, spec: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        encoder(spec.format(folder))


def test_more_dimensions_than_there_are_cannot_be_kept(folder: Path) -> None:
    with pytest.raises(LimbeckError, match="have no 17 principal components; take dim=16 or less"):
        static(str(folder), dim=17)


def test_dimensions_may_be_left_as_they_are(folder: Path) -> None:
    network = static_of(f'static("{folder}", dim="none", weights="none", normalize=false)').eval()
    teacher, ids = encoder(f"hf:{folder}(normalize=false)").eval(), torch.tensor([[2, 4, 3]])
    with torch.no_grad():
        alone = teacher(input_ids=ids, attention_mask=torch.ones_like(ids))
    alone = alone[0] / alone.norm() * network.table.weight[4].norm()
    torch.testing.assert_close(network.table.weight[4], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["sentence_transformers.models.Transformer", "my_package.Evil"], "names my_package.Evil, and only"),
        (["sentence_transformers.models.Transformer", "sentence_transformers.models.CNN"], "names .*CNN"),
        (["sentence_transformers.models.Pooling"], "should begin with a Transformer"),
        (["sentence_transformers.models.Transformer"], "should name a Transformer, one Pooling"),
    ],
)
def test_modules_that_are_not_read_are_refused(tmp_path: Path, kinds: list[str], message: str) -> None:
    folder = sentence_folder(tmp_path / "odd")
    write(folder / "modules.json", [{"path": "", "type": kind} for kind in kinds])
    with pytest.raises(LimbeckError, match=message):
        layout(str(folder))


@pytest.mark.parametrize("strips", [True, False])
def test_a_folder_may_say_that_texts_are_put_in_lower_case(tmp_path: Path, strips: bool) -> None:
    folder = sentence_folder(tmp_path / "lower")
    state = json.loads((folder / "tokenizer.json").read_text())
    state["normalizer"] = {"type": "BertNormalizer", **CASED} if strips else None
    write(folder / "tokenizer.json", state)
    plain = of_encoder(read(f"hf:{folder}"))
    write(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": True})
    lowered = of_encoder(read(f"hf:{folder}"))
    small, capital = (lowered.tokenize([text]).values["input_ids"] for text in ("snow soup", "SNOW Soup"))
    assert torch.equal(small, capital)
    assert torch.equal(small, plain.tokenize(["snow soup"]).values["input_ids"])
    assert not torch.equal(small, plain.tokenize(["SNOW Soup"]).values["input_ids"])
    assert torch.equal(tokens_of_static(str(folder)).tokenize(["SNOW"]).values["input_ids"], capital[1:2])
    lowered.save(tmp_path / "saved")
    again = tokenization(str(tmp_path / "saved"), 12)
    assert torch.equal(again.tokenize(["SNOW Soup"]).values["input_ids"], small), (
        "the file of the tokenizer has it"
    )
    assert again.digest == lowered.digest


def test_a_folder_says_its_length_and_its_prompts(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "prompted", max_length=9, prompts={"query": "q: ", "document": ""})
    found = layout(str(folder))
    assert (found.max_length, found.prompts) == (9, {"query": "q: "})
    assert json.loads((folder / "modules.json").read_text())[1]["path"] == "1_Pooling"


@pytest.mark.parametrize(("said", "normalize"), [({}, False), ({"normalize": True}, True)])
def test_a_table_of_model2vec_is_normalized_if_it_says_so(
    tmp_path: Path, said: dict[str, bool], normalize: bool
) -> None:
    write(tmp_path / "config.json", {"model_type": "model2vec", **said})
    found = layout(str(tmp_path))
    assert (found.kind, found.settings.normalize) == ("static", normalize)


def test_a_text_of_tokens_without_a_vector_leaves_the_table_alone() -> None:
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    table[1] = 0
    encoder = StaticEncoder(6, 4)
    with torch.no_grad():
        encoder.table.weight.copy_(table)
    found = encoder(torch.tensor([[1, 1], [2, 3]]), torch.ones(2, 2, dtype=torch.int64))
    assert found[0].tolist() == [0.0] * 4
    assert torch.allclose(found[1], nn.functional.normalize(table[2] + table[3], dim=0))
    (found - 1).square().sum().backward()
    gradient = encoder.table.weight.grad
    assert gradient is not None
    assert gradient[1].tolist() == [0.0] * 4, "F.normalize would give it 1e12"
    assert 0 < gradient[2].abs().sum() < 100
