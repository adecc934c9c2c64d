"""Folders of sentence-transformers: which modules they hold, and in which files those lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.models.encoders.network import ACTIVATIONS, DenseSettings, EncoderSettings
from limbeck.models.encoders.pooling import Pooling, checked
from limbeck.models.weights import load_state
from limbeck.pretrained import settings_in

MODULES = "modules.json"
"""The file that makes a folder one of sentence-transformers."""

FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How a pooling was written down before there was `pooling_mode`; several are in this order."""

KINDS = ("Transformer", "Pooling", "Dense", "Normalize", "StaticEmbedding", "Dropout")


@dataclass(frozen=True)
class Layout:
    """What a folder or a name on the hub holds.

    Attributes:
        kind: "encoder" for a transformer with what is behind it, "static" for a table of token vectors.
        place: where the transformer, or the table, is.
        settings: what is done behind the transformer; of a table only whether it is normalized.
        weights: folders of the dense layers, in their order.
        max_length: tokens that a text is cut to; None where the folder does not say.
        prompts: what is put before a text, by the kind of the text.
        lower_case: whether a text is put in lower case before the tokenizer sees it.
        given: whether the folder says how to pool; a plain folder of `transformers` does not.
    """

    kind: Literal["encoder", "static"]
    place: str
    settings: EncoderSettings = field(default_factory=EncoderSettings)
    weights: tuple[str, ...] = ()
    max_length: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    lower_case: bool = False
    given: bool = False


def layout(place: str) -> Layout:
    """What a folder, or a name on the hub, holds.

    Args:
        place: a folder of sentence-transformers, of model2vec or of `transformers`; or a name on the hub.
    Raises:
        LimbeckError: for modules that are not read, naming them, and files that are damaged.
    """
    modules = settings_in(place, MODULES) if _exists(place, MODULES) else None
    if modules is None:
        config = settings_in(place, "config.json") or {}
        if config.get("model_type") == "model2vec":
            return Layout("static", place, EncoderSettings(normalize=bool(config.get("normalize"))))
        return Layout("encoder", place)
    kinds = [_kind(module, place) for module in modules]
    if kinds[:1] not in (["Transformer"], ["StaticEmbedding"]):
        raise LimbeckError(f"{MODULES} of {place!r} should begin with a Transformer or a StaticEmbedding")
    paths = [str(module.get("path", "")) for module in modules]
    normalize = "Normalize" in kinds
    if kinds[0] == "StaticEmbedding":
        if others := [kind for kind in kinds[1:] if kind not in ("Normalize", "Dropout")]:
            raise LimbeckError(
                f"{place!r} has {others[0]} behind a table of token vectors, which is not read"
            )
        return Layout("static", _inside(place, paths[0]), EncoderSettings(normalize=normalize))
    if kinds[1:2] != ["Pooling"] or "Pooling" in kinds[2:] or "Transformer" in kinds[1:]:
        raise LimbeckError(
            f"{MODULES} of {place!r} should name a Transformer, one Pooling, and Dense and Normalize behind "
            f"it, not {', '.join(kinds)}"
        )
    if normalize and kinds[-1] != "Normalize":
        raise LimbeckError(f"{place!r} has {kinds[-1]} behind Normalize, and only the last can be Normalize")
    dense = [path for kind, path in zip(kinds, paths, strict=True) if kind == "Dense"]
    of_texts = _of_texts(place, paths[0])
    return Layout(
        "encoder",
        _inside(place, paths[0]),
        EncoderSettings(
            pooling=_pooling(place, paths[1]),
            dense=tuple(_dense(place, path) for path in dense),
            normalize=normalize,
        ),
        tuple(dense),
        of_texts.get("max_seq_length"),
        _prompts(place),
        lower_case=bool(of_texts.get("do_lower_case")),
        given=True,
    )


def table_in(place: str) -> tuple[Tensor, Path]:
    """The vectors of a static embedding, (V, D) float32, and the file of its tokenizer.

    Args:
        place: a folder with `model.safetensors` and `tokenizer.json`, as sentence-transformers and model2vec
            write it.
    Raises:
        LimbeckError: if a file is missing, or holds no table.
    """
    folder = Path(place)
    weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
    for file in (weights, tokenizer):
        if not file.is_file():
            raise LimbeckError(f"the folder {place!r} of static embeddings holds no {file.name}")
    state = load_file(weights)
    if "embedding.weight" in state:
        return state["embedding.weight"].float(), tokenizer
    if "embeddings" not in state:
        raise LimbeckError(
            f"{str(weights)!r} holds no table of token vectors, embedding.weight or embeddings"
        )
    table = state["embeddings"].float()
    if "mapping" in state:
        table = table[state["mapping"].long()]
    if "weights" in state:
        table = table * state["weights"].float()[:, None]
    return table, tokenizer


def dense_state(place: str, path: str) -> dict[str, Tensor]:
    """The weights of a dense layer.

    Args:
        place: the folder of sentence-transformers.
        path: of the layer in it.
    """
    folder = Path(place) / path
    if (file := folder / "model.safetensors").is_file():
        return load_file(file)
    if (file := folder / "pytorch_model.bin").is_file():
        return load_state(file)
    raise LimbeckError(f"the folder {str(folder)!r} of a dense layer holds no model.safetensors")


def _exists(place: str, name: str) -> bool:
    """Whether a file may be there: of a name on the hub only asking tells."""
    folder = Path(place)
    return not folder.is_dir() or (folder / name).is_file()


def _kind(module: Mapping[str, Any], place: str) -> str:
    name = str(module.get("type", ""))
    kind = name.rpartition(".")[2]
    if kind not in KINDS or not name.startswith("sentence_transformers."):
        raise LimbeckError(
            f"{MODULES} of {place!r} names {name or 'a module without a type'}, and only {', '.join(KINDS)} "
            "of sentence_transformers are read; build the network yourself and hand it over in Python"
        )
    return kind


def _inside(place: str, path: str) -> str:
    """The place of a module's folder."""
    if not path:
        return place
    if not Path(place).is_dir():
        raise LimbeckError(
            f"{place!r} keeps its transformer in the folder {path!r}, which is only read of a folder here; "
            "download it and give the folder"
        )
    return str(Path(place) / path)


def _pooling(place: str, path: str) -> tuple[Pooling, ...]:
    config = settings_in(place, f"{path}/config.json")
    if config is None:
        raise LimbeckError(f"the folder {path!r} of the pooling of {place!r} holds no config.json")
    if not config.get("include_prompt", True):
        raise LimbeckError(f"{place!r} leaves prompts out of its pooling, which is not read")
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else named
    if modes is None:
        modes = [pooling for flag, pooling in FLAGS.items() if config.get(flag)]
    return checked(modes, f"the pooling of {place!r}")


def _dense(place: str, path: str) -> DenseSettings:
    config = settings_in(place, f"{path}/config.json")
    try:
        settings = DenseSettings.model_validate(config)
    except ValidationError as error:
        raise LimbeckError(
            f"config.json of the dense layer {path!r} of {place!r} is damaged: {error.errors()[0]['msg']}"
        ) from None
    if settings.activation_function not in ACTIVATIONS or config.get("use_residual"):
        what = "a residual" if config.get("use_residual") else settings.activation_function
        raise LimbeckError(
            f"the dense layer {path!r} of {place!r} has {what}, which is not read; there are "
            f"{', '.join(name.rpartition('.')[2] for name in ACTIVATIONS)}"
        )
    return settings


def _of_texts(place: str, path: str) -> Mapping[str, Any]:
    """How long a text may be, and whether it is put in lower case."""
    name = "sentence_bert_config.json"
    name = f"{path}/{name}" if path else name
    return (settings_in(place, name) if _exists(place, name) else None) or {}


def _prompts(place: str) -> dict[str, str]:
    name = "config_sentence_transformers.json"
    config: Any = settings_in(place, name) if _exists(place, name) else None
    prompts: Mapping[str, Any] = (config or {}).get("prompts") or {}
    return {kind: prompt for kind, prompt in prompts.items() if isinstance(prompt, str) and prompt}


def names(modules: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of `modules.json` for modules in their order; those of later versions read them too.

    Args:
        modules: their kinds, of `KINDS`; the first lies in the folder itself.
    """
    return [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(modules)
    ]
