"""A folder that `transformers` loads: network, tokenizer, labels and card."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn

from limbeck import models
from limbeck.data.files.tokens import PADDING
from limbeck.data.language.tokenizer import differ
from limbeck.data.preparation import Preparation
from limbeck.data.split import Split
from limbeck.data.storage.sequences import Sequences
from limbeck.data.storage.texts import Texts
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.data.towers import TowerTokenization
from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models import encoders
from limbeck.models.encoders.towers import Towers
from limbeck.models.gpt import GPT
from limbeck.optional import imported
from limbeck.outputs import Inputs
from limbeck.pretrained import EXTRA, from_pretrained, quiet
from limbeck.runs.exports.check import CheckError
from limbeck.runs.exports.llama import as_llama
from limbeck.runs.network_record import Card
from limbeck.tasks import Language


def check_fits(student: nn.Module, card: Card) -> None:
    """Refuses a student that is no network of `transformers` alone."""
    if isinstance(student, GraftedStudent) or (card.network is None and not isinstance(student, GPT)):
        raise LimbeckError(
            "the format hf is for networks of transformers (hf:...), and this student is "
            f"{card.model or type(student).__name__}; take safetensors, onnx or pt2"
        )
    if card.rescaling is not None:
        raise LimbeckError(
            "this student answers on the scale of its targets by a rescaling that transformers does not "
            "know; take safetensors, onnx or pt2"
        )


def write(
    student: nn.Module, card: Card, reads: Preparation, files: Mapping[str, str], folder: Path
) -> list[str]:
    """Writes the folder.

    Args:
        student: a network of `transformers`, as `check_fits` lets it pass.
        card: of it.
        reads: what it reads of a sample.
        files: what makes the inputs of data with a tokenizer of its own, by name.
        folder: an empty folder.
    Returns: sentences on what was written.
    """
    if isinstance(student, Towers):
        assert isinstance(reads, TowerTokenization)
        for side in ("query", "document"):
            (folder / side).mkdir()
            _write_encoder(getattr(student, side), getattr(reads, side), folder / side)
        return ["two folders for sentence_transformers.SentenceTransformer(...): query and document"]
    if encoders.is_encoder(student):
        return _write_encoder(student, reads, folder)
    task = card.made_for()
    language = isinstance(task, Language)
    network: Any = as_llama(student) if isinstance(student, GPT) else copy.deepcopy(student)
    if not language:
        models.huggingface.name_outputs(network, task)
    elif isinstance(student, GPT) and isinstance(reads, Tokenization):
        models.causal.name_tokens(network, reads.tokenizer)
    with quiet(imported("transformers", EXTRA)):
        network.save_pretrained(folder)
        if isinstance(reads, Tokenization):
            reads.save(folder)
        elif (text := files.get("tokenizer.json")) is not None:
            _of_data(text).save_pretrained(folder)
    name, named = type(network).__name__, ", ".join(task.outputs[:10])
    lines = [f"a folder for {name}.from_pretrained"]
    if language:
        lines.append("its tokenizer is beside it" + (", with the chat template" if _chats(reads) else ""))
        return lines
    lines[0] += f"; its labels are {named}"
    if (folder / "tokenizer.json").is_file():
        lines.append(
            f"its tokenizer is beside it and cuts texts to {_tokenizer(folder).model_max_length} tokens"
        )
    if (normalization := models.normalization_of(student)) is not None:
        (folder / "preprocessor_config.json").write_text(
            json.dumps(_processor(reads, normalization), indent=2)
        )
        lines.append(f"preprocessor_config.json normalizes its images ({normalization.summary})")
    return lines


def _write_encoder(student: nn.Module, reads: Preparation, folder: Path) -> list[str]:
    """Writes a folder of sentence-transformers."""
    if not isinstance(reads, Tokenization):
        raise LimbeckError(
            "a folder of sentence-transformers holds the tokenizer of the student, and it brings none; take "
            "safetensors, onnx or pt2"
        )
    encoders.write(student, folder, reads.max_length, dict(reads.prompts))
    if isinstance(student, encoders.StaticEncoder):
        for name, text in reads.files().items():
            (folder / name).write_text(text, encoding="utf-8")
    else:
        reads.save(folder)
    return [
        "a folder for sentence_transformers.SentenceTransformer(...)",
        f"its tokenizer is in it and cuts texts to {reads.max_length:,} tokens",
    ]


def check_tokens(folder: Path, split: Split, reads: Preparation, inputs: Inputs) -> None:
    """Refuses a folder whose tokenizer makes other tokens of texts than the student read.

    Args:
        folder: the folder that `write` wrote.
        split: texts.
        reads: how the student reads them.
        inputs: what it reads of the first of them, named tensors (B, L).
    Raises:
        CheckError: naming the first text that differs.
    """
    samples = split.samples
    if isinstance(samples, Sequences) and isinstance(reads, Tokenization):
        if (shown := differ(tokenization(str(folder), reads.max_length), reads)) is not None:
            raise CheckError(f"the tokenizer in the folder is another: {shown}; it was not kept")
        return
    if not isinstance(samples, Texts) or isinstance(inputs, Tensor) or isinstance(reads, TowerTokenization):
        return
    prompts = dict(reads.prompts) if isinstance(reads, Tokenization) else {}
    texts = samples.corpus.with_prompts(prompts)
    tokenizer = _tokenizer(folder)
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    places = samples.of_corpus(split.index[: len(ids)]).tolist()
    for place, row, there in zip(places, ids, mask, strict=True):
        text = texts[place]
        if tokenizer(text, truncation=True)["input_ids"] != row[there].tolist():
            raise CheckError(
                f"the tokenizer in the folder makes other tokens of {text[:40]!r}; it was not kept"
            )


def _chats(reads: Preparation) -> bool:
    return isinstance(reads, Tokenization) and bool(reads.tokenizer.chat_template)


def _tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder; that of static embeddings has no config beside it."""
    if (folder / "tokenizer_config.json").is_file():
        return from_pretrained("AutoTokenizer", str(folder))
    made = tokenization(str(folder), 1 << 20, special=False).tokenizer
    cut = Tokenizer.from_file(str(folder / "tokenizer.json")).truncation
    assert cut is not None, "Tokenization.files sets it"
    made.model_max_length = cut["max_length"]
    return made


def _of_data(text: str) -> Any:
    """The tokenizer of a data set as one of `transformers`."""
    inside = Tokenizer.from_str(text)
    assert inside.truncation is not None, "train_tokenizer sets it"
    most = inside.truncation["max_length"]
    inside.no_truncation()
    inside.no_padding()
    return imported("transformers", EXTRA).PreTrainedTokenizerFast(
        tokenizer_object=inside,
        pad_token=PADDING,
        model_max_length=most,
        model_input_names=["input_ids", "attention_mask"],
    )


def reopen(folder: Path, card: Card) -> Callable[[Inputs], Tensor]:
    """What the folder answers, given what the student reads.

    Args:
        folder: the folder that `write` wrote.
        card: of the student.
    """
    if card.made_for().embeds:
        if (folder / "query").is_dir():
            sides = [encoders.encoder(f"hf:{folder / side}") for side in ("query", "document")]
            both = Towers(*sides).eval()
            return lambda inputs: logits_of(call(both, inputs))
        encoder = encoders.encoder(f"hf:{folder}").eval()
        return lambda inputs: logits_of(call(encoder, inputs))
    name = models.causal.AUTO
    if not isinstance(card.made_for(), Language):
        assert card.network is not None
        (name,) = json.loads(card.network)["architectures"]
    network: nn.Module = from_pretrained(name, str(folder)).eval()
    if card.normalization is not None:
        models.normalize_inputs(network, card.normalization)
    return lambda inputs: logits_of(call(network, inputs))


def _processor(reads: Preparation, normalization: models.Normalization) -> dict[str, Any]:
    """The settings of an image processor that makes what the student reads of 8-bit pixels."""
    sides = reads.size if isinstance(reads.size, tuple) else (reads.size, reads.size)
    size = {"shortest_edge": reads.size} if reads.shortest else {"height": sides[0], "width": sides[1]}
    resized = {
        "do_resize": True,
        "size": size,
        "resample": {"nearest": 0, "bilinear": 2, "bicubic": 3}[reads.resample],
    }
    cropped = reads.crop and {"height": reads.crop[0], "width": reads.crop[1]}
    kind = (
        "CLIPImageProcessor" if reads.shortest else "DeiTImageProcessor" if cropped else "ViTImageProcessor"
    )
    if reads.flipped:
        kind = "MobileViTImageProcessor"
    return {
        "image_processor_type": kind,
        **({"do_flip_channel_order": True} if reads.flipped else {}),
        **(resized if reads.size is not None else {"do_resize": False}),
        **({"do_center_crop": bool(cropped), "crop_size": cropped} if kind != "ViTImageProcessor" else {}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(normalization.mean),
        "image_std": list(normalization.std),
    }


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to; it becomes `folder` when the block ends without an error.

    Raises:
        LimbeckError: if it cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except OSError as error:
        raise LimbeckError(f"{str(folder)!r} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
