"""Hugging Face networks by name: what is loaded of them, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.models import build, huggingface
from limbeck.models.configs import most_tokens
from limbeck.models.huggingface import Pretrained
from limbeck.words import Words
from pretrained_folders import KINDS, bert

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
IDS = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("pretrained") / "encoder")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("pretrained") / "classifier", labels=[*KINDS])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf:prajjwal1/bert-tiny", Pretrained("prajjwal1/bert-tiny")),
        ("hf:some folder/x(layers=2)", Pretrained("some folder/x", layers=2)),
        ('hf:x(layers=2, keep="last", max_length=9)', Pretrained("x", 2, "last", 9)),
        ("hf:x(layers=[0, 5])", Pretrained("x", [0, 5])),
        ("hf:x(add_prefix_space=true)", Pretrained("x", add_prefix_space=True)),
        ("hf:x(hidden_dropout_prob=0.0)", Pretrained("x", overrides={"hidden_dropout_prob": 0.0})),
    ],
)
def test_a_name_is_a_place_and_arguments(spec: str, expected: Pretrained) -> None:
    assert huggingface.read(spec) == expected


def test_a_folder_gives_the_network_that_transformers_loads(classifier: Path) -> None:
    ours = build(f"hf:{classifier}", example=IDS).eval()
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    assert type(ours) is type(theirs)
    assert torch.equal(ours(**IDS).logits, theirs(**IDS).logits)


def test_an_encoder_gets_a_head_that_is_drawn_from_the_seed(encoder: Path) -> None:
    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        return build(f"hf:{encoder}", example=IDS, num_classes=5)

    first, same, other = made(0), made(0), made(1)
    assert first.classifier.weight.shape == (5, 16)
    assert torch.equal(first.classifier.weight, same.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.training
    kept = transformers.BertModel.from_pretrained(encoder)
    assert torch.equal(first.bert.embeddings.word_embeddings.weight, kept.embeddings.word_embeddings.weight)


def test_a_head_can_be_drawn_anew(classifier: Path) -> None:
    kept = huggingface.build(f"hf:{classifier}", IDS, 3)
    fresh = huggingface.build(f"hf:{classifier}", IDS, 3, head=False)
    changed = {
        key for key, tensor in kept.state_dict().items() if not torch.equal(tensor, fresh.state_dict()[key])
    }
    assert changed == {"classifier.weight"}  # its bias begins with zeros, and random weights have that too


@pytest.mark.parametrize(
    ("layers", "kept"),
    [
        ("2", [0, 3]),
        ("3", [0, 2, 3]),
        ('2, keep="first"', [0, 1]),
        ('2, keep="last"', [2, 3]),
        ("[1, 2]", [1, 2]),
    ],
)
def test_a_student_of_some_layers_has_their_weights(layers: str, kept: list[int], classifier: Path) -> None:
    whole = build(f"hf:{classifier}", example=IDS).state_dict()
    student = build(f"hf:{classifier}(layers={layers})", example=IDS)
    state = student.state_dict()
    assert student.config.num_hidden_layers == len(kept)  # type: ignore[union-attr]
    for new, old in enumerate(kept):
        key = "bert.encoder.layer.{}.attention.self.query.weight"
        assert torch.equal(state[key.format(new)], whole[key.format(old)])
    for key in ("bert.embeddings.word_embeddings.weight", "bert.pooler.dense.weight", "classifier.weight"):
        assert torch.equal(state[key], whole[key])
    assert len(state) == len(whole) - (4 - len(kept)) * 16


@pytest.mark.parametrize("family", ["distilbert", "roberta", "gpt2", "electra"])
def test_layers_are_found_in_other_families(family: str, tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(
        family, vocab_size=40, num_hidden_layers=4, hidden_size=16, num_attention_heads=2, pad_token_id=0
    )
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    whole = build(f"hf:{tmp_path}", example=IDS).state_dict()
    state = build(f"hf:{tmp_path}(layers=2)", example=IDS).state_dict()
    layers = {key: tensor for key, tensor in state.items() if ".1." in key and tensor.dim() == 2}
    assert layers
    for key, tensor in layers.items():
        assert torch.equal(tensor, whole[key.replace(".1.", ".3.")])


def test_an_attribute_of_the_config_can_be_set(classifier: Path) -> None:
    network = build(f"hf:{classifier}(hidden_dropout_prob=0.5)", example=IDS)
    assert {each.p for each in network.modules() if isinstance(each, torch.nn.Dropout)} == {0.5, 0.1}


def test_a_network_from_a_config_alone_reads_the_tokens_of_the_data() -> None:
    spec = 'hf:config(model_type="bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=1)'
    network = build(spec, example=IDS, num_classes=4, facts={"vocab_size": 77})
    assert network.get_input_embeddings().weight.shape == (77, 8)  # type: ignore[operator]
    assert network(**IDS).logits.shape == (1, 4)


def test_a_config_builds_the_network_again(classifier: Path) -> None:
    network = build(f"hf:{classifier}(layers=2)", example=IDS)
    text = huggingface.config_of(network)
    assert text is not None
    again = huggingface.from_config(text)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(**IDS).logits, network.eval()(**IDS).logits)
    assert str(classifier) not in text
    assert huggingface.config_of(torch.nn.Linear(2, 2)) is None


def test_a_config_names_no_class_of_elsewhere(classifier: Path) -> None:
    text = huggingface.config_of(build(f"hf:{classifier}", example=IDS))
    assert text is not None
    for name in ("AutoModel", "BertTokenizer", "os"):
        with pytest.raises(LimbeckError, match=f"has no network '{name}'"):
            huggingface.from_config(json.dumps({**json.loads(text), "architectures": [name]}))


def test_the_labels_are_those_of_the_head(encoder: Path, classifier: Path, tmp_path: Path) -> None:
    assert huggingface.labels_of(f"hf:{classifier}") == tuple(KINDS)
    assert huggingface.labels_of(f"hf:{encoder}") is None
    assert huggingface.labels_of('hf:config(model_type="bert")') is None
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=3
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    assert huggingface.labels_of(f"hf:{tmp_path}") == ("0", "1", "2")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:", "is written hf:FOLDER or hf:NAME"),
        ("hf:x(2)", "hf:x takes its arguments by name"),
        ("hf:x(layers=0)", "layers=0"),
        ('hf:x(keep="last")', "keep says which layers a number of them means"),
        ('hf:x(layers=[1], keep="last")', "keep says which layers a number of them means"),
        ("hf:x(num_labels=7)", "the number of outputs follows from the data; leave out num_labels"),
        ("hf:{encoder}(to_dict=1)", "hf:.* has no argument 'to_dict'.* are taken too"),
        ('hf:{encoder}(hidden_dropout_prob="x")', "hidden_dropout_prob cannot be 'x'"),
        ("hf:{encoder}(num_hidden_layers=6)", "layer.4.* is not among its weights, so it would be random"),
        ('hf:config(model_type="bert", max_length=8)', "hf:config has no argument 'max_length'"),
        ('hf:x(layers=2, keep="middle")', 'keep="middle"'),
        ("hf:./nowhere", "there is no folder './nowhere'"),
        ("hf:{encoder}(layers=5)", "has 4 layers, so 5 of them cannot be kept"),
        ("hf:{encoder}(layers=[1, 4])", "different positions from 0 to 3"),
        ("hf:{encoder}(layers=[1, 1])", "different positions from 0 to 3"),
        (
            "hf:{encoder}(hiden_size=8)",
            "hf:{encoder} has no argument 'hiden_size': its own are layers, keep, max_length, pad_token, "
            "add_prefix_space, pooling, normalize and dim, "
            "and attributes of its config, that of bert, are taken too; did you mean 'hidden_size'?",
        ),
        (
            "hf:{encoder}(max_len=8)",
            "hf:{encoder} has no argument 'max_len': its own are .*; did you mean 'max_length'?",
        ),
        ("hf:{encoder}(hidden_size=8)", "the weights do not fit these arguments"),
        ("hf:config(layers=2)", "no argument 'layers', which .*; it takes .*, such as num_hidden_layers"),
        ("hf:config(hidden_size=8)", 'names its family, as in hf:config\\(model_type="bert"\\)'),
        (
            'hf:config(model_type="brt")',
            r"^transformers has no family model_type='brt'; did you mean 'bert'",
        ),
        (
            'hf:config(model_type="zzz")',
            "^transformers has no family model_type='zzz'$",
        ),
        (
            'hf:config(model_type="bert", hiden_size=8)',
            "hf:config has no argument 'hiden_size': attributes of its config, that of bert, are taken; did "
            "you mean 'hidden_size'?",
        ),
        ('hf:config(model_type="bert", hidden_size=7)', "cannot make a network of the family 'bert'"),
    ],
)
def test_what_cannot_be_built_is_refused(spec: str, message: str, encoder: Path) -> None:
    with pytest.raises(LimbeckError, match=message.replace("{encoder}", re.escape(str(encoder)))):
        build(spec.replace("{encoder}", str(encoder)), example=IDS, num_classes=3)


def test_a_teacher_without_a_head_is_refused(encoder: Path) -> None:
    with pytest.raises(LimbeckError, match=r"brings no trained head.*classifier.bias.*limbeck train --model"):
        huggingface.build(f"hf:{encoder}", IDS, head=True)


def test_a_teacher_with_any_random_weight_is_refused(classifier: Path, tmp_path: Path) -> None:
    network = transformers.AutoModelForSequenceClassification.from_pretrained(classifier)
    state = {key: tensor for key, tensor in network.state_dict().items() if "pooler" not in key}
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(LimbeckError, match=r"bert\.pooler.dense.bias is not among its weights"):
        huggingface.build(f"hf:{tmp_path}", IDS, head=True)
    assert build(f"hf:{tmp_path}", example=IDS).classifier.weight.shape == (3, 16)  # type: ignore[union-attr]


def bart(encoder_layers: int, decoder_layers: int) -> Any:
    config = transformers.BartConfig(
        vocab_size=40,
        d_model=8,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
    )
    return transformers.BartForSequenceClassification(config)


@pytest.mark.parametrize(("depths", "kept"), [((3, 3), (2, 2)), ((4, 2), (2, 2)), ((3, 1), (2, 1))])
def test_the_layers_of_a_decoder_are_chosen_where_it_has_as_many(
    depths: tuple[int, int], kept: tuple[int, int], tmp_path: Path
) -> None:
    bart(*depths).save_pretrained(tmp_path)
    whole = build(f"hf:{tmp_path}", example=IDS).state_dict()
    student: Any = build(f"hf:{tmp_path}(layers=2)", example=IDS)
    state = student.state_dict()
    assert (student.config.encoder_layers, student.config.decoder_layers) == kept
    for part, depth, count in zip(("encoder", "decoder"), depths, kept, strict=True):
        last = f"model.{part}.layers.{{}}.fc1.weight"
        assert torch.equal(state[last.format(count - 1)], whole[last.format(depth - 1)])
    ids = torch.tensor([[0, 5, 6, 2]])
    assert student.eval()(input_ids=ids).logits.shape == (1, 3)


def modernbert() -> Any:
    config = transformers.ModernBertConfig(
        vocab_size=40,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=5,
        num_attention_heads=1,
        global_attn_every_n_layers=2,
        pad_token_id=0,
    )
    return transformers.ModernBertForSequenceClassification(config)


def test_a_layer_keeps_its_kind_of_attention(tmp_path: Path) -> None:
    modernbert().save_pretrained(tmp_path)
    whole = build(f"hf:{tmp_path}", example=IDS)
    student: Any = build(f"hf:{tmp_path}(layers=[0, 1, 4])", example=IDS)
    assert student.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]
    key = "model.layers.{}.attn.Wqkv.weight"
    assert torch.equal(student.state_dict()[key.format(2)], whole.state_dict()[key.format(4)])
    for left_out in (2, 3):  # a layer that adds nothing is as good as none
        layer: Any = whole.get_submodule(f"model.layers.{left_out}")
        torch.nn.init.zeros_(layer.attn.Wo.weight)
        torch.nn.init.zeros_(layer.mlp.Wo.weight)
    torch.testing.assert_close(student.eval()(**IDS).logits, whole.eval()(**IDS).logits)


def test_layers_that_do_not_fit_in_their_places_are_refused(tmp_path: Path) -> None:
    modernbert().save_pretrained(tmp_path)
    with pytest.raises(
        LimbeckError,
        match=r"the layers \[3, 4\] of ModernBertForSequenceClassification have other weights than the first "
        r"2, "
        r"in whose places they would come; begin with the first layer, such as layers=\[0, \.\.\.\]",
    ):
        build(f'hf:{tmp_path}(layers=2, keep="last")', example=IDS)


@pytest.mark.parametrize(
    ("family", "tokens"),
    [
        ("bert", 64),
        ("roberta", 62),
        ("camembert", 62),
        ("mpnet", 62),
        ("longformer", 62),
        ("gpt2", 64),
        ("bart", 64),
    ],
)
def test_how_many_tokens_a_network_reads_is_seen_in_its_positions(
    family: str, tokens: int, tmp_path: Path
) -> None:
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=40,
        max_position_embeddings=64,
        pad_token_id=1,
        hidden_size=16,
        num_attention_heads=2,
    )
    config.save_pretrained(tmp_path)
    assert most_tokens(str(tmp_path)) == tokens
    if family in ("roberta", "mpnet"):  # one token more is out of their table
        network = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        network(input_ids=torch.full((1, tokens), 5))
        with pytest.raises((IndexError, RuntimeError), match="out of"):
            network(input_ids=torch.full((1, tokens + 1), 5))


def test_a_folder_that_needs_its_own_code_is_refused(classifier: Path, tmp_path: Path) -> None:
    config = json.loads((classifier / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('this code must not run')")
    with pytest.raises(LimbeckError, match="needs code that comes with it, which limbeck never runs"):
        build(f"hf:{tmp_path}", example=IDS)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"holds no config\.json, so it is no model of transformers"):
        build(f"hf:{tmp_path}", example=IDS)


def test_a_damaged_folder_is_refused(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((classifier / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(LimbeckError, match="cannot be loaded by transformers"):
        build(f"hf:{tmp_path}", example=IDS)


def test_words_are_read_by_a_network_with_a_head_for_each_token(encoder: Path, tmp_path: Path) -> None:
    words = Words(IDS, torch.tensor([[1, 2]]))
    torch.manual_seed(0)
    made: Any = build(f"hf:{encoder}(layers=2)", example=words, num_classes=5)
    assert type(made) is transformers.BertForTokenClassification
    assert made(**words).logits.shape == (1, 4, 5)
    made.save_pretrained(tmp_path / "tagger")
    again = build(f"hf:{tmp_path / 'tagger'}", example=words).eval()
    assert torch.equal(again(**words).logits, made.eval()(**words).logits)
    assert huggingface.decides(f"hf:{tmp_path / 'tagger'}") == "token"
    assert huggingface.labels_of(f"hf:{tmp_path / 'tagger'}") == ("0", "1", "2", "3", "4")
    assert huggingface.decides(f"hf:{encoder}") is None
    assert huggingface.decides('hf:config(model_type="bert")') is None
    alone = build(
        'hf:config(model_type="bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=2)',
        example=words,
        num_classes=3,
        facts={"vocab_size": 50, "per_token": True},
    )
    assert type(alone) is transformers.BertForTokenClassification
    assert alone(**words).logits.shape == (1, 4, 3)
    assert type(huggingface.from_config(huggingface.config_of(alone) or "")) is type(alone)
