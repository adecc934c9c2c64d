"""What a network that brings its own tokenizer reads of a text."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from limbeck.data.kinds import kind_of
from limbeck.data.preparation import Preparation
from limbeck.data.storage.base import Samples
from limbeck.data.storage.sequences import Sequences
from limbeck.data.storage.texts import Ragged, Texts
from limbeck.data.words import check_words, first_tokens, lowercased, space_before_words
from limbeck.errors import LimbeckError
from limbeck.growing import Growing
from limbeck.optional import imported
from limbeck.outputs import Inputs
from limbeck.pretrained import EXTRA, from_pretrained, stamp

FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model", "*.gguf")
"""What shows that a folder holds a tokenizer."""

LIKELY_PADDING = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
"""Tokens of a vocabulary that texts are padded with most of the time."""

AT_ONCE = 10_000
"""Texts that are tokenized at once, whose tokens are Python's numbers for a moment."""


@dataclass(frozen=True)
class Tokenization(Preparation):
    """How a text becomes the token ids of one Hugging Face network: as its `AutoTokenizer` makes them.

    A text is cut to the most tokens that the network reads, and a batch is padded to its longest text, so
    that L differs from batch to batch.

    Args:
        place: where the tokenizer is from, for messages.
        digest: 16 hex digits of all that decides what it makes of a text.
        max_length: most tokens of a text, special tokens included.
        tokenizer: the tokenizer, as `AutoTokenizer.from_pretrained` gives it.
        prompts: what is put before a text, by the kind that the data says the text is of, such as "query".
    """

    place: str = field(default="", compare=False)
    digest: str = ""
    max_length: int = 0
    tokenizer: Any = field(default=None, compare=False, repr=False)
    prompts: tuple[tuple[str, str], ...] = ()

    def __call__(self, inputs: Inputs) -> Inputs:
        """The inputs as they are; they should be token ids already."""
        if kind_of(inputs) != "text":
            raise LimbeckError(f"the network {self.place} reads texts, and these inputs are none")
        return inputs

    def read(self, rendered: Inputs, samples: Samples, index: Tensor) -> Inputs:
        """What the tokenizer makes of the texts; data that holds token ids alone is taken as it is."""
        if isinstance(samples, Sequences):
            return samples.told_to(self, rendered, index)
        if not isinstance(samples, Texts):
            return self(rendered)
        return samples.read(self._tokens(samples), index)

    def key(self, samples: Samples) -> str:
        """The tokenizer and the texts: equal tokens of the data's own tokenizer may be of different texts."""
        texts = f" of the texts {samples.corpus.fingerprint}" if isinstance(samples, Texts) else ""
        prompts = f", with the prompts {dict(self.prompts)}" if self.prompts else ""
        return f"tokens by {self.digest}, at most {self.max_length}{prompts}{texts}"

    def lengths(self, samples: Samples, index: Tensor) -> Tensor | None:
        """(B,) int64 tokens of each sample."""
        if not isinstance(samples, Texts):
            return samples.lengths(index)
        return self._tokens(samples).lengths[samples.of_corpus(index)]

    def share_lost(self, samples: Texts) -> float:
        """The share of the words that the network does not read."""
        first = self._tokens(samples).first
        assert first is not None, "these are texts that are parted in words"
        return samples.lost_by(first[samples.of_corpus(torch.arange(len(samples)))])

    def share_cut(self, samples: Samples) -> float:
        """The share of the texts that are longer than the network reads."""
        if not isinstance(samples, Texts) or not len(samples):
            return 0.0
        rows = samples.of_corpus(torch.arange(len(samples)))
        full = self._tokens(samples).lengths[rows] >= self.max_length  # only these can have been cut
        texts = samples.corpus.with_prompts(dict(self.prompts))
        longer = sum(
            len(self.tokenizer(texts[row], verbose=False)["input_ids"]) > self.max_length
            for row, is_full in zip(rows.tolist(), full.tolist(), strict=True)
            if is_full
        )
        return longer / len(full)

    def share_unknown(self, samples: Samples) -> float:
        """The share of the tokens of a corpus that stand for what the tokenizer does not know."""
        known = self.tokenizer
        special = {known.bos_token_id, known.eos_token_id, known.pad_token_id, known.cls_token_id}
        special = {each for each in (*special, known.sep_token_id) if each is not None}
        if not isinstance(samples, Texts) or known.unk_token_id is None or known.unk_token_id in special:
            return 0.0
        ids = self._tokens(samples).values["input_ids"]
        words = ~torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype))
        return float((ids == known.unk_token_id).sum() / words.sum().clamp(min=1))

    def tokenize(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> Ragged:
        """The tokens of some texts, without padding; of texts in words also where each word begins.

        Raises:
            LimbeckError: for a tokenizer that names no token to pad a batch with, or cannot tell the words
                apart.
        """
        self._check_padding()
        in_words = not all(isinstance(text, str) for text in texts)
        if in_words:
            check_words(self.tokenizer, self.place)
        flat: dict[str, Growing] = {}
        lengths, begins = [0], []
        for start in range(0, len(texts), AT_ONCE):
            encoded = self.tokenizer(
                [*texts[start : start + AT_ONCE]],
                truncation=True,
                max_length=self.max_length,
                is_split_into_words=in_words,
            )
            for name in self.tokenizer.model_input_names:
                if name in encoded:
                    ids = torch.tensor([*chain.from_iterable(encoded[name])], dtype=torch.int64)
                    flat.setdefault(name, Growing()).add(ids)
            lengths += map(len, encoded["input_ids"])
            begins += [each.word_ids for each in encoded.encodings] if in_words else []
        padding = {
            "input_ids": self.tokenizer.pad_token_id,
            "token_type_ids": self.tokenizer.pad_token_type_id,
        }
        return Ragged(
            {name: ids.read() for name, ids in flat.items()},
            torch.tensor(lengths).cumsum(0),
            {name: padding.get(name, 0) for name in flat},
            left=self.tokenizer.padding_side == "left",
            first=first_tokens(begins, [*map(len, texts)]) if in_words else None,
        )

    def save(self, folder: Path) -> None:
        """Writes the tokenizer for `AutoTokenizer`, with `max_length` as the length that it cuts texts to."""
        saved = copy.deepcopy(self.tokenizer)
        if (backend := getattr(saved, "backend_tokenizer", None)) is not None:
            backend.no_truncation()
            backend.no_padding()
        saved.model_max_length = self.max_length
        saved.save_pretrained(folder)

    def files(self) -> dict[str, str]:
        """The file `tokenizer.json`, for the package tokenizers alone: it cuts and pads as here.

        Raises:
            LimbeckError: for a tokenizer that is written in Python.
        """
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            raise LimbeckError(
                f"the tokenizer of {self.place} is written in Python and has no tokenizer.json"
            )
        self._check_padding()
        made = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        made.enable_truncation(self.max_length, direction=self.tokenizer.truncation_side)
        made.enable_padding(
            direction=self.tokenizer.padding_side,
            pad_id=self.tokenizer.pad_token_id,
            pad_type_id=self.tokenizer.pad_token_type_id,
            pad_token=self.tokenizer.pad_token,
        )
        return {"tokenizer.json": made.to_str(pretty=True)}

    def _check_padding(self) -> None:
        if self.tokenizer.pad_token_id is None:
            known = self.tokenizer.get_vocab()
            likely = next((each for each in LIKELY_PADDING if each in known), "...")
            example = json.dumps(self.tokenizer.eos_token or likely)
            raise LimbeckError(
                f"the tokenizer of {self.place!r} names no token to pad with; name one, "
                f"hf:{self.place}(pad_token={example})"
            )

    def _tokens(self, samples: Texts) -> Ragged:
        key = f"{self.digest} {self.max_length} {self.prompts}"
        return samples.corpus.tokens(key, self.tokenize, dict(self.prompts))

    def __str__(self) -> str:
        return f"at most {self.max_length} tokens of the tokenizer of {self.place}"


def tokenization(
    place: str,
    most: int,
    max_length: int | None = None,
    pad_token: str | None = None,
    *,
    add_prefix_space: bool = False,
    special: bool = True,
    lower_case: bool = False,
) -> Tokenization:
    """The tokenizer of a folder or a hub name.

    Args:
        place: the folder or name.
        most: most tokens that the network reads.
        max_length: what a text is cut to; as many as the network reads if None.
        pad_token: the token that fills up a batch, for a tokenizer that names none.
        add_prefix_space: whether a byte-level tokenizer sees a space before every word that is given alone.
        special: whether special tokens are put around a text, as most networks read them.
        lower_case: whether a text is put in lower case first, whatever the tokenizer does.
    Raises:
        LimbeckError: for a folder without a tokenizer, a token to pad with that it does not have, and a
            length that the network does not read.
    """
    folder = Path(place)
    if folder.is_dir() and not any(any(folder.glob(name)) for name in FILES):
        raise LimbeckError(
            f"the folder {place!r} holds no tokenizer; write it there with tokenizer.save_pretrained(...)"
        )
    tokenizer, digest = _loaded(place, pad_token, add_prefix_space, special, lower_case, stamp(place))
    most = min(most, tokenizer.model_max_length)
    if max_length is not None and max_length > most:
        raise LimbeckError(f"{place!r} reads at most {most} tokens of a text, not max_length={max_length}")
    if max_length is not None and max_length <= (special := tokenizer.num_special_tokens_to_add()):
        raise LimbeckError(
            f"the tokenizer of {place!r} adds {special} special tokens to a text, so max_length={max_length} "
            "leaves no room for it"
        )
    return Tokenization(place=place, digest=digest, max_length=max_length or most, tokenizer=tokenizer)


@lru_cache(maxsize=8)
def _loaded(
    place: str,
    pad_token: str | None,
    add_prefix_space: bool,
    special: bool,
    lower_case: bool,
    stamp: object,
) -> tuple[Any, str]:
    """The tokenizer and its digest."""
    options = {"add_prefix_space": True} if add_prefix_space else {}
    tokenizer = from_pretrained("AutoTokenizer", place, **options) if special else _without_special(place)
    if add_prefix_space:
        space_before_words(tokenizer, place)
    if lower_case:
        lowercased(tokenizer, place)
    if pad_token is not None:
        if tokenizer.convert_tokens_to_ids(pad_token) in (None, tokenizer.unk_token_id):
            raise LimbeckError(f"the tokenizer of {place!r} has no token {pad_token!r} to pad with")
        tokenizer.pad_token = pad_token
    return tokenizer, digest_of(tokenizer)


def _without_special(place: str) -> Any:
    """The tokenizer of a place without what puts special tokens around a text."""
    package, file = imported("transformers", EXTRA), Path(place) / "tokenizer.json"
    if file.is_file() and not (file.parent / "tokenizer_config.json").is_file():
        inside, length = Tokenizer.from_file(str(file)), None
        named = "[PAD]" if inside.token_to_id("[PAD]") is not None else inside.id_to_token(0)
    else:
        found = from_pretrained("AutoTokenizer", place)
        if getattr(found, "backend_tokenizer", None) is None:
            raise LimbeckError(
                f"the tokenizer of {place!r} is written in Python, and static embeddings need a "
                "tokenizer.json; write it with save_pretrained(...) of the fast form of the tokenizer"
            )
        inside, length = Tokenizer.from_str(found.backend_tokenizer.to_str()), found.model_max_length
        named = found.pad_token or inside.id_to_token(0)
    inside.no_truncation()
    inside.no_padding()
    inside.post_processor = None
    return package.PreTrainedTokenizerFast(
        tokenizer_object=inside,
        pad_token=named,
        model_input_names=["input_ids", "attention_mask"],
        **({} if length is None else {"model_max_length": length}),
    )


def digest_of(tokenizer: Any) -> str:
    """16 hex digits of the vocabulary, the rules and the special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules = json.dumps(
            [
                type(tokenizer).__name__,
                sorted(tokenizer.get_vocab().items()),
                sorted((name, str(value)) for name, value in tokenizer.init_kwargs.items()),
            ]
        )
    else:
        backend.no_truncation()
        backend.no_padding()
        rules = backend.to_str()
    settings = [
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        tokenizer.padding_side,
        tokenizer.truncation_side,
        tokenizer.model_input_names,
    ]
    return hashlib.sha256(f"{rules} {json.dumps(settings, sort_keys=True)}".encode()).hexdigest()[:16]
