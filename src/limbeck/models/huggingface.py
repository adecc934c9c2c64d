"""The door to Hugging Face networks: `hf:FOLDER`, `hf:NAME(layers=2)`, `hf:config(model_type="bert")`."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck import pretrained
from limbeck.arguments import Count, checked_arguments
from limbeck.errors import LimbeckError, unknown
from limbeck.models.inputs import described
from limbeck.models.layers import Keep, fewer_layers
from limbeck.notation import parse_call
from limbeck.optional import imported
from limbeck.outputs import Inputs
from limbeck.pretrained import EXTRA, from_pretrained, quiet
from limbeck.tasks import Task

PREFIX = "hf:"
PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
"""What `transformers` calls a task."""

TASKS = {problem: task for task, problem in PROBLEMS.items()}
"""The task that it calls so."""

HEADS = ("ForSequenceClassification", "ForImageClassification")
"""How the classes of networks with a head for whole texts or images end."""

ALONE = "config"
"""The place of a network that is made from its config's arguments, without weights."""

OWN = ("layers", "keep", "max_length", "pad_token", "pooling", "normalize", "dim")
"""The arguments that are limbeck's; all others are attributes of the config."""

_SPEC = re.compile(r"hf:([^()]+?)\s*(\(.*\))?", re.DOTALL)


@dataclass(frozen=True)
class Pretrained:
    """A network as a model text names it.

    Attributes:
        place: a folder that `save_pretrained` wrote, a name on the hub, or `ALONE`.
        layers: which of the layers it keeps: a number, or their positions from 0; None for all.
        keep: which ones a number means: "even" (spread from the first to the last), "first" or "last".
        max_length: tokens that a text is cut to; None for as many as the network reads.
        pad_token: token that fills up a batch, for a tokenizer that names none.
        pooling: how an encoder's tokens become one vector (see `limbeck.models.encoders`); as its folder says
            if None, as is the next.
        normalize: whether an encoder's embedding has length 1.
        dim: numbers of an encoder's embedding, by a linear layer with fresh weights before its normalization.
        overrides: attributes of its config.
    """

    place: str
    layers: Count | Sequence[int] | None = None
    keep: Keep = "even"
    max_length: Count | None = None
    pad_token: str | None = None
    pooling: str | Sequence[str] | None = None
    normalize: bool | None = None
    dim: Count | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def brings_weights(self) -> bool:
        """Whether there are trained weights in the place."""
        return self.place != ALONE


def is_hf(spec: str) -> bool:
    """Whether a model is a Hugging Face network."""
    return spec.startswith(PREFIX)


def read(spec: str) -> Pretrained:
    """What a model text names.

    Args:
        spec: `hf:`, a folder or a name on the hub, and arguments by name if there are any.
    Raises:
        LimbeckError: for a text that is not written like this, and arguments of a wrong kind.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise LimbeckError(
            f"{spec!r} is no Hugging Face network; it is written hf:FOLDER or hf:NAME, with arguments "
            "by name, hf:FOLDER(layers=2)"
        )
    place, arguments = match.groups()
    place = str(Path(place).expanduser()) if place.startswith("~") else place
    call = parse_call(f"network{arguments or ''}", f"arguments of hf:{place}")
    if call.args:
        raise LimbeckError(f"hf:{place} takes its arguments by name, such as hf:{place}(layers=2)")
    own = {name: value for name, value in call.kwargs.items() if name in OWN}
    if place == ALONE and own:
        raise LimbeckError(f"hf:config has no argument {next(iter(own))!r}; it takes attributes of a config")
    if "keep" in own and not isinstance(own.get("layers"), int):
        raise LimbeckError(
            f"hf:{place}: keep says which layers a number of them means; give layers=2 or the like"
        )
    if "num_labels" in call.kwargs:
        raise LimbeckError(f"hf:{place}: the number of outputs follows from the data; leave out num_labels")
    checked = checked_arguments(f"hf:{place}", Pretrained, (place,), own)
    return Pretrained(
        **checked, overrides={name: value for name, value in call.kwargs.items() if name not in OWN}
    )


def labels_of(spec: str) -> tuple[str, ...] | None:
    """The names of the outputs of the head that a folder or name brings; None if it brings no head.

    A label that is called LABEL_3, as it is where nobody gave names, counts as 3.
    """
    named = read(spec)
    if not named.brings_weights:
        return None
    config = pretrained.config_of(named.place)
    if not any(name.endswith(HEADS) for name in config.architectures or ()):
        return None
    return tuple(
        re.sub(r"^LABEL_(\d+)$", r"\1", config.id2label[number]) for number in sorted(config.id2label)
    )


def most_tokens(place: str) -> int:
    """How many tokens of a text the network of a folder, or of a name on the hub, reads."""
    config = pretrained.config_of(place)
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return 1 << 20  # the tokenizer says
    # The positions of RoBERTa and its kin start behind that of the padding.
    return positions - config.pad_token_id - 1 if config.model_type in _OFFSET else positions


_OFFSET = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text")


def build(
    spec: str,
    example: Inputs | None = None,
    num_classes: int | None = None,
    facts: Mapping[str, int] | None = None,
    *,
    head: bool | None = None,
) -> nn.Module:
    """The network, in training mode, with the weights of its place in float32.

    Args:
        spec: see `read`.
        example: token ids or images, which say whether it classifies texts or images.
        num_classes: number of outputs; as many as its head has if None.
        facts: the `vocab_size` of the data, for `hf:config(...)`.
        head: whether it keeps the head of its place: True refuses one that is not there; False draws a
            fresh one from torch's global generator; None keeps it where it has as many outputs.
    Raises:
        LimbeckError: for what cannot be loaded, attributes that its config has not, and layers that it has
            not.
    """
    named = read(spec)
    auto = _auto(spec, example)
    if any(each is not None for each in (named.pooling, named.normalize, named.dim)):
        raise LimbeckError(
            f"{spec}: pooling, normalize and dim are of encoders, for the tasks retrieval and similarity; "
            "leave them out"
        )
    if not named.brings_weights:
        return _alone(named, auto, example, num_classes, facts or {})
    config = configured(named, num_classes)
    network, info = from_pretrained(
        auto,
        named.place,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    base = f"{network.base_model_prefix}."
    misfits = [key for key, *_ in info["mismatched_keys"] if key.startswith(base)]
    if misfits:
        raise LimbeckError(f"{spec}: the weights do not fit these arguments, for example {misfits[0]}")
    fresh = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    lost = sorted(key for key in fresh if key.startswith(base) and (head or ".pooler." not in key))
    if head and (missing := sorted(key for key in fresh if not key.startswith(base))):
        raise LimbeckError(
            f"{spec} brings no trained head for this ({missing[0]} is not among its weights), so it would "
            f"teach noise; fine-tune it first, limbeck train --model {spec!r}"
        )
    if lost:
        raise LimbeckError(f"{spec}: {lost[0]} is not among its weights, so it would be random")
    if head is False:
        _fresh_head(network, auto)
    if named.layers is not None:
        network = fewer_layers(network, named.layers, named.keep, spec)
    if named.pad_token is not None:
        tokenizer = from_pretrained("AutoTokenizer", named.place)
        network.config.pad_token_id = tokenizer.convert_tokens_to_ids(named.pad_token)
    made: nn.Module = network.train()
    return made


def config_of(network: nn.Module) -> str | None:
    """The config of a network of `transformers` as JSON, enough to build it again; None for any other."""
    if not type(network).__module__.startswith("transformers.models."):
        return None
    config: Any = network.config
    values = {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
    return json.dumps({**values, "architectures": [type(network).__name__]}, sort_keys=True)


def from_config(text: str) -> nn.Module:
    """A network with fresh weights from what `config_of` wrote.

    Raises:
        LimbeckError: for a class that the installed `transformers` has not.
    """
    package = imported("transformers", EXTRA)
    values = json.loads(text)
    (name,) = values["architectures"]
    made: Any = getattr(package, name, None)
    if made is None or not issubclass(made, package.PreTrainedModel):
        raise LimbeckError(f"the installed transformers {package.__version__} has no network {name!r}")
    with quiet(package):
        network: nn.Module = made(made.config_class.from_dict(values))
    return network


def _auto(spec: str, example: Inputs | None) -> str:
    """The class of `transformers` that loads it."""
    if isinstance(example, Tensor) and example.dim() == 4:
        return "AutoModelForImageClassification"
    if example is None or not isinstance(example, Tensor) or example.dtype == torch.int64:
        return "AutoModelForSequenceClassification"
    raise LimbeckError(f"{spec} takes token ids or images, not {described(example)}")


def configured(named: Pretrained, num_classes: int | None, place: str | None = None) -> Any:
    """The config of a place with the attributes that a model text overrides.

    Args:
        named: what the text names.
        num_classes: number of outputs; as in the place if None.
        place: where the config is, if it is not the place that the text names.
    """
    config = pretrained.config_of(place or named.place)
    known = {*config.to_dict(), *config.attribute_map}
    for name, value in named.overrides.items():
        if name not in known:
            raise unknown(f"argument of hf:{named.place}:", name, [*OWN, *known])
        try:
            setattr(config, name, value)
        except Exception as error:  # what its own check says
            raise LimbeckError(f"hf:{named.place}: {name} cannot be {value!r}") from error
    if num_classes is not None:
        config.num_labels = num_classes
    return config


def _alone(
    named: Pretrained, auto: str, example: Inputs | None, num_classes: int | None, facts: Mapping[str, int]
) -> nn.Module:
    """A network of fresh weights, told what the data says unless its arguments do."""
    package = imported("transformers", EXTRA)
    if "model_type" not in named.overrides:
        raise LimbeckError(
            'a network made from a config alone names its family, as in hf:config(model_type="bert")'
        )
    values = dict(named.overrides)
    family = str(values.pop("model_type"))
    try:
        known = set(package.AutoConfig.for_model(family).to_dict())
        if strange := [name for name in values if name not in known]:
            raise unknown("argument of hf:config:", strange[0], known)
        told: dict[str, Any] = {"vocab_size": facts.get("vocab_size")}
        if isinstance(example, Tensor) and example.dim() == 4:
            told = {"num_channels": example.shape[1], "image_size": example.shape[-1]}
        elif facts:
            told |= {"pad_token_id": 0}
        told = {name: value for name, value in told.items() if name in known and value is not None}
        if num_classes is not None:
            told["num_labels"] = num_classes
        config = package.AutoConfig.for_model(family, **{**told, **values})
        with quiet(package):
            network: nn.Module = getattr(package, auto).from_config(config)
    except LimbeckError:
        raise
    except Exception as error:  # whatever the config makes of its arguments
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LimbeckError(f"hf:config cannot make a network of the family {family!r}: {reason}") from error
    return network.train()


def _fresh_head(network: Any, auto: str) -> None:
    """Draws what is not part of the network's base anew."""
    package = imported("transformers", EXTRA)
    with quiet(package):
        fresh = getattr(package, auto).from_config(copy.deepcopy(network.config)).state_dict()
    state, base = network.state_dict(), f"{network.base_model_prefix}."
    with torch.no_grad():
        for key, tensor in state.items():
            if not key.startswith(base):
                tensor.copy_(fresh[key])


def name_outputs(network: Any, task: Task) -> None:
    """Writes the names of a task's outputs, and what kind of problem it is, into a network's config."""
    network.config.id2label = dict(enumerate(task.outputs))
    network.config.label2id = {name: number for number, name in enumerate(task.outputs)}
    network.config.problem_type = PROBLEMS.get(task.name)
