"""Texts for language models: from plain files, tables and the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from limbeck.arguments import Limits
from limbeck.data.files.discover import find
from limbeck.data.files.tokens import LEAST_VOCABULARY
from limbeck.data.language.blocks import Blocks, blocks
from limbeck.data.language.documents import PLAIN, Columns, documents
from limbeck.data.language.forms import Chat, Document, Text
from limbeck.data.language.retelling import Documents
from limbeck.data.language.tokenizer import learned, of_place, vocabulary
from limbeck.data.language.tokens import Encoder
from limbeck.data.registry import written
from limbeck.data.source import Source
from limbeck.data.split import Split
from limbeck.data.storage.sequences import Sequences
from limbeck.data.tokenization import Tokenization
from limbeck.data.views import parse
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import Language

Vocabulary: TypeAlias = Annotated[int, Limits(ge=LEAST_VOCABULARY)]
"""How many tokens a tokenizer may have that is trained on the data."""

PROMPTS = 4
"""Beginnings of held-out documents that networks are asked to continue."""

BEGINNING = 16
"""Tokens of a plain text that are given to be continued, at most a quarter of a block."""

MOST = 20 * BEGINNING
"""Characters of a text that are looked at for them."""


def from_language(
    path: str = "",
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    separator: str | None = None,
    block: Annotated[int, Limits(ge=2)] = 256,
    pack: bool | None = None,
    chat: bool = False,
    join: str = "\n",
    end: bool = True,
    tokenizer: str = "",
    vocab_size: Vocabulary | None = None,
    tokens: Tokenization | None = None,
    data_dir: Path | None = None,
) -> Source:
    """Texts for language models, as ids of the tokenizer of the networks.

    Networks are called as `network(input_ids=..., attention_mask=...)`, both (B, L) int64. Where a row holds
    several documents, the mask numbers them from 1, and `position_ids` begins at 0 in each; attention does
    not go from one to the other. A run saves the tokenizer in its folder `tokenizer`.

    A document is a plain text, of which every token is learned; a prompt with its response, or a chat, of
    which the response or what the assistant says is learned. The share of the tokens that are learned is said
    before training.

    Args:
        path: a file .txt, .csv, .json, .jsonl or .parquet; a directory with such a file `train` and maybe
            `validation` and `test`; or a data set of the Hugging Face hub. Without them, a tenth of the
            documents is held out for the test, then as many of the rest for validation; of fewer than 20
            texts a part of each.
        text: the column of plain texts.
        prompt: the column of prompts.
        response: the column of the responses to them.
        messages: the column of chats, lists of messages with `role` and `content`. Without these four, the
            columns `messages`, `prompt` and `response` or `completion`, or `text` are taken, the first that
            are there.
        separator: what parts the documents of a plain file; a file is one document without it.
        block: most tokens that a network reads at once.
        pack: whether a row holds several documents; texts do by default, and go on in the next row.
        chat: whether prompts and responses are rendered by the tokenizer's chat template, as messages of user
            and assistant.
        join: what is put between a prompt and its response, without `chat`.
        end: whether the end of a document is learned, as the tokenizer's EOS token. What ends an answer in a
            chat is learned as its template has it.
        tokenizer: a folder or a name on the hub whose tokenizer is used; that of the networks if it is empty.
            Where no network brings one either, a byte-level BPE is trained on the training split.
        vocab_size: most tokens of such a BPE, 8,000 by default; 257 makes every byte a token.
        tokens: the tokenizer that a network of a run brings, which the run gives.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "text": text,
        "prompt": prompt,
        "response": response,
        "messages": messages,
        "separator": separator,
        "block": block,
        "pack": pack,
        "chat": chat,
        "join": join,
        "end": end,
        "tokenizer": tokenizer,
        "vocab_size": vocab_size,
    }
    name = written("language", from_language, given)
    found = documents(path, data_dir, Columns(text, prompt, response, messages), separator)
    used = of_place(tokenizer) if tokenizer else tokens
    if used is None:
        used = learned([*_words(found["train"])], 8000 if vocab_size is None else vocab_size)
    elif vocab_size is not None and vocabulary(used) > vocab_size:
        raise LimbeckError(
            f"the tokenizer of {used.place} has {vocabulary(used):,} tokens, more than "
            f"vocab_size={vocab_size}, which is for a tokenizer that is trained on the data; leave it out"
        )
    texts = all(isinstance(each, Text) for each in found["train"])
    chats = chat or any(isinstance(each, Chat) for each in found["train"])
    if texts and chat:
        raise LimbeckError(f"{name} has plain texts, and chat is for prompts and responses; leave it out")
    if chats and not end:
        raise LimbeckError(
            f"{name} has chats, and their template says what ends an answer; leave out end=false"
        )
    if (texts or chats) and join != "\n":
        raise LimbeckError(
            f"join stands between a prompt and its response, and {name} has "
            f"{'plain texts' if texts else 'chats, which their template joins'}; leave it out"
        )
    encoder = Encoder(used, join=join, chat=chat, ends=end)
    padding = used.tokenizer.pad_token_id or 0
    encoded = {split: [*encoder(some)] for split, some in found.items()}
    made = {
        split: blocks(some, block, padding, pack=texts if pack is None else pack, whole=not texts)
        for split, some in encoded.items()
    }
    _check(made, found, block)
    width = vocabulary(used)
    splits = {
        split: Split.whole(
            Sequences(
                each.tokens,
                each.bytes,
                width,
                documents=Documents(found[split], encoder, each, block, whole=not texts),
            ),
            each.targets,
            Language,
        )
        for split, each in made.items()
    }
    return Source(
        name=name,
        kind="text",
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        task=Language(width, encoder.end(encoded["train"])),
        views=parse("none"),
        facts={"vocab_size": width},
        preparation=f"token ids by the tokenizer in the folder tokenizer, at most {block} at once",
        hub=path if _of_hub(path, data_dir) else None,
        notes=tuple(_notes(made, found, texts=texts, block=block)),
        tokens=used,
        prompts=tuple(tuple(ids) for ids in _prompts(encoder, found, block)),
    )


def _words(some: Sequence[Document]) -> Iterator[str]:
    """All texts in some documents."""
    for each in some:
        values = vars(each).get("messages")
        if values is not None:
            yield from (message["content"] for message in values)
        else:
            yield from (value for value in vars(each).values() if isinstance(value, str))


def _check(made: Mapping[str, Blocks], found: Mapping[str, Sequence[Document]], block: int) -> None:
    for split, each in made.items():
        if len(each.targets):
            continue
        chats = [document.messages for document in found[split] if isinstance(document, Chat)]
        roles = {message["role"] for messages in chats for message in messages}
        if chats and "assistant" not in roles:
            raise LimbeckError(
                f"no token of the {split} split is learned: the roles of its messages are "
                f"{', '.join(sorted(roles))}, and none is assistant, whose messages are learned"
            )
        raise LimbeckError(
            f"no token of the {split} split is learned: no response has a token within the {block} that a "
            "row holds; take a larger block, or other columns"
        )


def _notes(
    made: Mapping[str, Blocks], found: Mapping[str, Sequence[Document]], *, texts: bool, block: int
) -> Iterator[str]:
    train = made["train"]
    every, some = len(train.tokens.values["input_ids"]), int((train.targets != UNLABELED).sum())
    yield f"{100 * some / every:.3g} % of the training tokens are in the loss, {some:,} of {every:,}"
    known = {repr(each) for each in found["train"]}
    for split, each in made.items():
        twins = 0 if split == "train" else sum(repr(document) in known for document in found[split])
        if twins:
            yield (
                f"{twins:,} of the {len(found[split]):,} {split} documents are in the training data too, so "
                "what is measured on them is too good"
            )
        if each.cut:
            yield (
                f"{100 * each.cut / len(found[split]):.3g} % of the {split} documents are longer than "
                f"block={block} and are cut"
            )
        if each.unlearned and not texts:
            yield (
                f"{each.unlearned:,} of the {len(found[split]):,} {split} documents are left out, as none of "
                f"their first {block} tokens is learned"
            )


def _of_hub(path: str, data_dir: Path | None) -> bool:
    return Path(path).suffix not in PLAIN and find(path, data_dir) is None


def _prompts(encoder: Encoder, found: Mapping[str, Sequence[Document]], block: int) -> Iterator[list[int]]:
    """The first documents of the validation split, or else of another, as far as they are to be continued."""
    some = found.get("validation") or found.get("test") or found["train"]
    for each in _begun(some)[:PROMPTS]:
        ids = encoder.prompt(each)
        if isinstance(each, Text):
            ids = ids[: min(BEGINNING, max(1, block // 4))]
        if ids and len(ids) < block:
            yield ids


def _begun(some: Sequence[Document]) -> Sequence[Document]:
    """The documents to be continued; of a few long texts, the lines at several places."""
    if len(some) >= PROMPTS or not all(isinstance(each, Text) for each in some):
        return [Text(each.text[:MOST]) if isinstance(each, Text) else each for each in some[:PROMPTS]]
    text = "\n".join(each.text for each in some if isinstance(each, Text))
    places = [len(text) * number // PROMPTS for number in range(PROMPTS)]
    starts = dict.fromkeys(text.find("\n", place) + 1 if place else 0 for place in places)
    lines = (text[start:].lstrip()[:MOST] for start in starts)
    return [Text(line) for line in lines if line.strip()]
