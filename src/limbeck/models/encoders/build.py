"""Encoders by name: `hf:FOLDER(layers=2)`, `static("FOLDER", dim=256)`."""

from __future__ import annotations

import json
from typing import Any, Literal

import torch
from torch import nn

from limbeck.arguments import Count, checked_arguments
from limbeck.errors import LimbeckError
from limbeck.files import parse_json
from limbeck.models import configs, huggingface
from limbeck.models.encoders import folder
from limbeck.models.encoders.distilled import Weighting, principal, token_vectors, words, zipf_weights
from limbeck.models.encoders.network import EncoderSettings, SentenceEncoder
from limbeck.models.encoders.pooling import checked
from limbeck.models.encoders.static import StaticEncoder
from limbeck.models.encoders.towers import Towers
from limbeck.models.layers import fewer_layers
from limbeck.notation import parse_call
from limbeck.pretrained import from_pretrained

KEY = "sentence_encoder"
"""The key under which a config of an encoder has what is behind its transformer."""


def is_encoder(network: nn.Module) -> bool:
    """Whether a network is one that is written as a folder of sentence-transformers."""
    return isinstance(network, (SentenceEncoder, StaticEncoder))


def encoder(spec: str) -> SentenceEncoder | StaticEncoder:
    """The encoder of a folder or of a name on the hub, in training mode, with its weights in float32.

    Args:
        spec: `hf:`, the place, and arguments by name if there are any: those of every Hugging Face network,
            `pooling` and `normalize`.
    Raises:
        LimbeckError: for what cannot be loaded, and arguments that contradict the folder.
    """
    named = huggingface.read(spec)
    if not named.brings_weights:
        raise LimbeckError(
            "hf:config makes a network of fresh weights, and an encoder starts from trained ones; name a "
            "folder"
        )
    found = folder.layout(named.place)
    if found.kind == "static":
        if any(each is not None for each in (named.layers, named.pooling, named.dim)):
            raise LimbeckError(f"{spec}: static embeddings have no layers, no pooling and no dim to choose")
        table, _ = folder.table_in(found.place)
        return _static(table, found.settings.normalize if named.normalize is None else named.normalize)
    body = from_pretrained(
        "AutoModel",
        found.place,
        config=configs.changed(found.place, named.overrides),
        dtype=torch.float32,
    )
    if named.layers is not None:
        body = fewer_layers(body, named.layers, named.keep, spec)
    network = SentenceEncoder(body, _settings(spec, named, found))
    if named.dim is not None:
        network.append(named.dim)
    for layer, path in zip(network.dense, found.weights, strict=False):  # behind these is the one appended
        layer.load_state_dict(folder.dense_state(named.place, path))
    return network.train()


def _settings(spec: str, named: huggingface.Pretrained, found: folder.Layout) -> EncoderSettings:
    """What is behind the transformer: what the folder says, unless the arguments do."""
    changed: dict[str, Any] = {} if named.normalize is None else {"normalize": named.normalize}
    if named.pooling is not None:
        modes = [named.pooling] if isinstance(named.pooling, str) else [*named.pooling]
        poolings = checked(modes, spec)
        if found.settings.dense and len(poolings) != len(found.settings.pooling):
            raise LimbeckError(
                f"{spec}: the dense layer behind the pooling reads {found.settings.dense[0].in_features} "
                f"numbers, and {len(poolings)} poolings give others"
            )
        changed["pooling"] = poolings
    return found.settings.model_copy(update=changed)


def static(
    source: str, dim: Count | Literal["none"] = 256, weights: Weighting = "sif", normalize: bool = True
) -> StaticEncoder:
    """Static embeddings made from an encoder, with the encoder's tokenizer: a vector for each token.

    Each token goes through the encoder once, alone between the special tokens. Where the encoder normalizes,
    the vectors are those before it, divided by their mean length. They are reduced to their principal
    components and weighted, so that frequent tokens count less. Special tokens and placeholders such as
    `[unused0]` have a vector of zeros, and no part in the frequencies.

    Args:
        source: a folder of an encoder, or its name on the hub.
        dim: width of the embedding; that of the encoder, without a reduction, if "none".
        weights: "sif" for smooth inverse frequency by Zipf's law, or "none".
        normalize: whether the embedding has length 1.
    Raises:
        LimbeckError: for a folder that holds static embeddings already, and more dimensions than there are.
    """
    found = folder.layout(source)
    if found.kind == "static":
        raise LimbeckError(f"{source!r} holds static embeddings already; name it as hf:{source}")
    tokenizer = from_pretrained("AutoTokenizer", found.place)
    one = tokenizer("a", return_special_tokens_mask=True)  # what the tokenizer puts around any text
    ids, inside = torch.tensor(one["input_ids"]), (torch.tensor(one["special_tokens_mask"]) == 0).nonzero()
    before, after = ids[: int(inside[0])], ids[int(inside[-1]) + 1 :]
    written = words(tokenizer.convert_ids_to_tokens(range(len(tokenizer))), tokenizer.all_special_ids)
    with torch.random.fork_rng(devices=[]):
        vectors = token_vectors(encoder(f"hf:{source}(normalize=false)"), written, before, after)
    if found.settings.normalize:  # the encoder's scale, so that a learning rate means as much
        vectors = vectors / vectors.norm(dim=1).mean()
    if dim != "none":
        vectors = principal(vectors, dim)
    if weights == "sif":
        vectors = vectors * zipf_weights(len(written))[:, None]
    table = torch.zeros(len(tokenizer), vectors.shape[1])
    table[written] = vectors
    return _static(table, normalize)


def static_source(spec: str) -> str | None:
    """The encoder that a model text makes static embeddings of; None for any other text."""
    if not spec.startswith("static("):
        return None
    call = parse_call(spec, "model")
    source = call.kwargs.get("source", *call.args[:1])
    return source if isinstance(source, str) else None


def static_of(spec: str) -> StaticEncoder:
    """Static embeddings as a model text names them, `static("FOLDER", dim=256)`; see `static`."""
    call = parse_call(spec, "model")
    return static(**checked_arguments("static", static, call.args, call.kwargs))


def _static(table: torch.Tensor, normalize: bool) -> StaticEncoder:
    tokens, dim = table.shape
    network = StaticEncoder(tokens, dim, normalize)
    with torch.no_grad():
        network.table.weight.copy_(table)
    return network.train()


def config_of(network: nn.Module) -> str | None:
    """The config of an encoder, or of a network of `transformers`, as JSON; None for any other network."""
    if isinstance(network, StaticEncoder):
        tokens, dim = network.table.weight.shape
        return json.dumps({"static_encoder": {"tokens": tokens, "dim": dim, "normalize": network.normalize}})
    if isinstance(network, Towers):
        each = {side: config_of(getattr(network, side)) for side in ("query", "document")}
        return json.dumps({"towers": {**each, "freeze": network.freeze}})
    if not isinstance(network, SentenceEncoder):
        return huggingface.config_of(network)
    body = huggingface.config_of(network.body)
    assert body is not None, "the body is a network of transformers"
    return json.dumps({"body": json.loads(body), KEY: network.settings.model_dump()}, sort_keys=True)


def from_config(text: str) -> nn.Module:
    """A network with fresh weights from what `config_of` wrote."""
    values = parse_json(text)
    if "static_encoder" in values:
        return StaticEncoder(**values["static_encoder"])
    if "towers" in values:
        made = values["towers"]
        return Towers(from_config(made["query"]), from_config(made["document"]), freeze=made["freeze"])
    if KEY not in values:
        return huggingface.from_config(text)
    body = huggingface.from_config(json.dumps(values["body"]))
    return SentenceEncoder(body, EncoderSettings.model_validate(values[KEY]))
