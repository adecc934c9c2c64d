"""Rows of texts in another tokenizer: the same texts, and spans that are the same bytes in both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from language_models import CHAT, MARKED, stories, tokens, write_rows
from limbeck.data.language.retelling import in_tokens
from limbeck.data.language.source import from_language
from limbeck.data.language.token_bytes import common_tokens, token_bytes
from limbeck.data.language.tokenizer import UNLIMITED, differ
from limbeck.data.source import Source
from limbeck.data.tokenization import Tokenization, digest_of
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.retold import APART, Retold

TEXTS = [*stories(24), "Größe 🙂 ball, naïve 你好 box.", " Tim  saw\ta box. ", "é" * 9 + "🙂🙂"]


def made(kind: str) -> Tokenization:
    """A tokenizer of the kind of SentencePiece, with bytes for what it does not know, or of WordPiece."""
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    if kind == "sentencepiece":
        bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
        built = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        built.pre_tokenizer = pre_tokenizers.Metaspace()
        built.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Metaspace()])
        trainer: Any = trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<unk>", "</s>"], show_progress=False
        )
        built.train_from_iterator(stories(60), trainer)
        told = json.loads(built.to_str())
        vocab = told["model"]["vocab"]
        for each in bytes_:
            vocab.setdefault(each, len(vocab))
        built = Tokenizer.from_str(json.dumps(told))
        special = {"unk_token": "<unk>"}
    else:
        built = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        built.normalizer = normalizers.BertNormalizer()
        built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        built.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=200, special_tokens=["[UNK]", "</s>"], show_progress=False
        )
        built.train_from_iterator(TEXTS, trainer)
        special = {"unk_token": "[UNK]"}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token="</s>", pad_token="</s>", **special
    )
    return Tokenization(place=kind, digest=digest_of(tokenizer), max_length=UNLIMITED, tokenizer=tokenizer)


OTHERS = {
    "byte-level": lambda: tokens(size=420, seed=5),
    "bytes": lambda: tokens(size=257),
    "sentencepiece": lambda: made("sentencepiece"),
    "wordpiece": lambda: made("wordpiece"),
}


def source(folder: Path, reads: Tokenization, **settings: Any) -> Source:
    file = write_rows(folder / "texts.jsonl", [{"text": each} for each in TEXTS])
    return from_language(path=str(file), tokens=reads, **{"block": 16, **settings})


def told(source: Source, reads: Tokenization) -> tuple[dict[str, Tensor], Tensor, Retold]:
    """The training rows in the tokens of the data, with their targets, and in other ones."""
    every = source.train.index
    rendered = source.train.samples.take(every, every)
    retold = reads.read(rendered, source.train.samples, every)
    assert isinstance(retold, Retold)
    assert not isinstance(rendered, Tensor)
    return dict(rendered), source.train.targets, retold


def by_span(targets: Tensor, spans: Tensor, table: list[bytes]) -> dict[int, bytes]:
    """The bytes of each span, token after token."""
    found: dict[int, bytes] = {}
    for token, span in zip(targets.flatten().tolist(), spans.flatten().tolist(), strict=True):
        if span != APART:
            found[span] = found.get(span, b"") + table[token]
    return found


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("kind", ["byte-level", "bytes", "sentencepiece"])
def test_a_span_is_the_same_bytes_in_both(kind: str, pack: bool, tmp_path: Path) -> None:
    ours, theirs = tokens(), OTHERS[kind]()
    some = source(tmp_path, ours, pack=pack)
    _, targets, retold = told(some, theirs)
    first = by_span(targets, retold.own_spans, token_bytes(ours))
    second = by_span(retold.targets, retold.spans, token_bytes(theirs))
    assert first == second
    learned = targets != UNLABELED
    share = float((retold.own_spans[learned] != APART).double().mean())
    assert share > (0.9 if kind == "bytes" else 0.6), share
    assert not (retold.own_spans[~learned] != APART).any()


@pytest.mark.parametrize("kind", OTHERS)
def test_rows_tell_the_same_text(kind: str, tmp_path: Path) -> None:
    """Each token is predicted in one row, and rows hold as many documents in the same order."""
    ours, theirs = tokens(), OTHERS[kind]()
    some = source(tmp_path, ours)
    inputs, targets, retold = told(some, theirs)
    assert len(retold.targets) == len(targets)
    text = [
        "".join(reads.tokenizer.decode(row[row != UNLABELED], skip_special_tokens=True).split()).lower()
        for reads, rows in ((ours, targets), (theirs, retold.targets))
        for row in rows
    ]
    whole, other = "".join(text[: len(targets)]), "".join(text[len(targets) :])
    if kind != "wordpiece":  # which leaves out accents, and knows no emoji
        # Some have no mark of the beginning, and so do not predict the first token of a document.
        assert abs(len(whole) - len(other)) < (0.12 if kind == "sentencepiece" else 0.02) * len(whole)
    assert (retold["attention_mask"].amax(1) <= inputs["attention_mask"].amax(1)).all()
    assert (retold["position_ids"][:, 0] == 0).all()
    inside = retold["attention_mask"][:, 1:] == retold["attention_mask"][:, :-1]
    step = retold["position_ids"][:, 1:] - retold["position_ids"][:, :-1]
    assert (step[inside & (retold["attention_mask"][:, 1:] > 0)] == 1).all()
    own = in_tokens(some, theirs)
    assert own is not None
    assert torch.equal(own.train.targets, retold.targets)
    assert own.task.width == retold.vocabulary.task.width == 1 + max(theirs.tokenizer.get_vocab().values())


def test_tokens_are_paired_by_their_number_in_the_response(tmp_path: Path) -> None:
    ours, theirs = tokens(), tokens(size=420, seed=5)
    rows = [{"prompt": "Tim saw", "response": each} for each in stories(30)]
    file = write_rows(tmp_path / "pairs.jsonl", rows)
    some = from_language(path=str(file), tokens=ours, block=40)
    _, targets, retold = told(some, theirs)
    for row, others, pairs in zip(targets, retold.targets, retold.pairs, strict=True):
        first, second = ((each != UNLABELED).nonzero().flatten().tolist() for each in (row, others))
        expected = {place: second[n] for n, place in enumerate(first) if n < len(second)}
        assert {place: int(pairs[place]) for place in range(len(pairs)) if pairs[place] != APART} == expected


@pytest.mark.parametrize("templates", [(CHAT, MARKED), (MARKED, CHAT.replace("<|", "[").replace("|>", "]"))])
def test_chats_are_aligned_by_what_the_assistant_says(templates: tuple[str, str], tmp_path: Path) -> None:
    messages = [
        {"role": role, "content": content}
        for role, content in (
            ("user", "Who?"),
            ("assistant", "Tim saw it."),
            ("user", "So?"),
            ("assistant", "The end."),
        )
    ]
    file = write_rows(tmp_path / "chats.jsonl", [{"messages": messages}] * 30)
    ours, theirs = tokens(templates[0]), tokens(templates[1], size=420, seed=5)
    some = from_language(path=str(file), tokens=ours, block=200)
    _, targets, retold = told(some, theirs)
    first = by_span(targets, retold.own_spans, token_bytes(ours))
    assert first == by_span(retold.targets, retold.spans, token_bytes(theirs))
    assert (retold.own_spans[targets != UNLABELED] != APART).all()
    assert b"".join(first.values()).count(b"Tim saw it.The end.") == len(targets)


def test_templates_that_say_something_else_are_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "Who?", "response": each} for each in stories(30)]
    file = write_rows(tmp_path / "pairs.jsonl", rows)
    other = MARKED.replace("{% generation %}", "{% generation %}I say: ")
    some = from_language(path=str(file), tokens=tokens(MARKED), chat=True, block=200)
    with pytest.raises(LimbeckError, match="have other texts of a chat learned, so their tokens cannot be"):
        told(some, tokens(other, size=420, seed=5))


def test_common_tokens_are_the_same_bytes() -> None:
    ours, theirs = tokens(), made("sentencepiece")
    first, second = common_tokens(ours, theirs)
    ends = (first == ours.tokenizer.eos_token_id).nonzero().item()
    assert second[ends] == theirs.tokenizer.eos_token_id
    tables = token_bytes(ours), token_bytes(theirs)
    pairs = [
        pair for place, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True)) if place != ends
    ]
    assert all(tables[0][a] == tables[1][b] != b"" for a, b in pairs)
    assert len(pairs) == len({*tables[0]} & {*tables[1]} - {b""})
    assert len(set(first.tolist())) == len(first)
    assert len(set(second.tolist())) == len(second)
    with pytest.raises(LimbeckError, match="neither byte-level nor of SentencePiece"):
        common_tokens(ours, made("wordpiece"))


def test_one_tokenizer_is_read_as_it_is(tmp_path: Path) -> None:
    some = source(tmp_path, tokens())
    same = tokens()
    assert differ(same, tokens()) is None
    every = some.train.index
    rendered = some.train.samples.take(every, every)
    assert same.read(rendered, some.train.samples, every) is rendered
    assert in_tokens(some, same) is None
