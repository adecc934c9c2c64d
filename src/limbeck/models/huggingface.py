"""The door to Hugging Face networks: `hf:FOLDER`, `hf:NAME(layers=2)`, `hf:config(model_type="bert")`."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from limbeck import pretrained
from limbeck.arguments import Count, checked_arguments
from limbeck.errors import LimbeckError
from limbeck.files import parse_json
from limbeck.models import configs
from limbeck.models.configs import OWN
from limbeck.models.inputs import described
from limbeck.models.layers import Keep, fewer_layers
from limbeck.models.object_answers import answer_by_place
from limbeck.models.zoos import told_apart
from limbeck.notation import parse_call
from limbeck.optional import imported
from limbeck.outputs import Inputs
from limbeck.pretrained import EXTRA, from_pretrained, quiet
from limbeck.tasks import Task
from limbeck.words import Words

PREFIX = "hf:"
PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
"""What `transformers` calls a task."""

TASKS = {problem: task for task, problem in PROBLEMS.items()}
"""The task that it calls so."""

Decision: TypeAlias = Literal["sample", "token", "pixel", "object"]
"""What a head has one answer for."""

HEADS: Mapping[str, Decision] = {
    "ForSequenceClassification": "sample",
    "ForImageClassification": "sample",
    "ForTokenClassification": "token",
    "ForSemanticSegmentation": "pixel",
    "ForObjectDetection": "object",
}
"""How the classes of networks with a head end, and what it has one answer for."""

DECISIONS: Mapping[str, Decision] = {
    "token_classification": "token",
    "segmentation": "pixel",
    "detection": "object",
}
"""What a task needs one answer for, where it is not a sample."""

ALONE = "config"
"""The place of a network that is made from its config's arguments, without weights."""

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
        add_prefix_space: whether a byte-level tokenizer sees a space before every word of a sentence.
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
    add_prefix_space: bool = False
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
        raise LimbeckError(
            f"hf:config has no argument {next(iter(own))!r}, which is for networks with weights; it takes "
            "attributes of a config, such as num_hidden_layers"
        )
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
    if decides(spec) is None:
        return None
    config = pretrained.config_of(read(spec).place)
    return told_apart(
        [re.sub(r"^LABEL_(\d+)$", r"\1", config.id2label[number]) for number in sorted(config.id2label)]
    )


def decides(spec: str) -> Decision | None:
    """What the head that a folder or name brings has one answer for; None if it brings no head."""
    named = read(spec)
    if not named.brings_weights:
        return None
    architectures = pretrained.config_of(named.place).architectures or ()
    return next(filter(None, map(_decision, architectures)), None)


def _decision(name: str) -> Decision | None:
    """What the head of a class of `transformers` has one answer for."""
    return next((decision for end, decision in HEADS.items() if name.endswith(end)), None)


def task_of(network: object) -> str:
    """The name of the task that a network of transformers is for, by its class and its config.

    It is classification where they do not say another.
    """
    decision = _decision(type(network).__name__)
    for task, each in DECISIONS.items():
        if decision == each:
            return task
    problem = str(getattr(getattr(network, "config", None), "problem_type", None))
    return TASKS.get(problem, "classification")


def build(
    spec: str,
    example: Inputs | None = None,
    num_classes: int | None = None,
    facts: Mapping[str, int] | None = None,
    *,
    head: bool | None = None,
    task: str | None = None,
) -> nn.Module:
    """The network, in training mode, with the weights of its place in float32.

    One that finds objects is in eval mode and answers as `limbeck.models.object_answers` says.

    Args:
        spec: see `read`.
        example: token ids, `Words` or images, which say whether it classifies texts, words or images.
        num_classes: number of outputs; as many as its head has if None.
        facts: the `vocab_size` of the data, for `hf:config(...)`.
        head: whether it keeps the head of its place: True refuses one that is not there; False draws a
            fresh one from torch's global generator; None keeps it where it has as many outputs.
        task: name of the task; it says whether a network for images labels them, their pixels or objects, as
            its head does where it is None.
    Raises:
        LimbeckError: for what cannot be loaded, attributes that its config has not, and layers that it has
            not.
    """
    named = read(spec)
    auto = _auto(spec, example, task)
    if any(each is not None for each in (named.pooling, named.normalize, named.dim)):
        raise LimbeckError(
            f"{spec}: pooling, normalize and dim are of encoders, for the tasks retrieval and similarity; "
            "leave them out"
        )
    if not named.brings_weights:
        return _alone(named, auto, example, num_classes, facts or {})
    config = configs.changed(named.place, named.overrides)
    if num_classes is not None:
        config.num_labels = num_classes
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
    if auto == _OF_OBJECTS:
        return answer_by_place(network.eval(), network.config.num_labels)
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
    values = parse_json(text)
    (name,) = values["architectures"]
    made: Any = getattr(package, name, None)
    if made is None or not issubclass(made, package.PreTrainedModel):
        raise LimbeckError(f"the installed transformers {package.__version__} has no network {name!r}")
    with quiet(package):
        network: nn.Module = made(made.config_class.from_dict(values))
    return network


_OF_OBJECTS = "AutoModelForObjectDetection"


def _auto(spec: str, example: Inputs | None, task: str | None) -> str:
    """The class of `transformers` that loads it."""
    if isinstance(example, Tensor) and example.dim() == 4:
        decided = decides(spec) if task is None else DECISIONS.get(task)
        dense = {"pixel": "AutoModelForSemanticSegmentation", "object": _OF_OBJECTS}
        return dense.get(decided or "", "AutoModelForImageClassification")
    if isinstance(example, Words):
        return "AutoModelForTokenClassification"
    if example is None or not isinstance(example, Tensor) or example.dtype == torch.int64:
        return "AutoModelForSequenceClassification"
    raise LimbeckError(f"{spec} takes token ids or images, not {described(example)}")


def _alone(
    named: Pretrained, auto: str, example: Inputs | None, num_classes: int | None, facts: Mapping[str, int]
) -> nn.Module:
    """A network of fresh weights, told what the data says unless its arguments do."""
    package = imported("transformers", EXTRA)
    told: dict[str, Any] = {"vocab_size": facts.get("vocab_size")}
    if isinstance(example, Tensor) and example.dim() == 4:
        height, width = example.shape[2:]
        told = {
            "num_channels": example.shape[1],
            "image_size": width if height == width else [height, width],
        }
    elif facts:
        told |= {"pad_token_id": 0}
    try:
        config = configs.of_family(named.overrides, told)
        if num_classes is not None:
            config.num_labels = num_classes
        with quiet(package):
            network: nn.Module = getattr(package, auto).from_config(config)
    except LimbeckError:
        raise
    except Exception as error:  # whatever the config makes of its arguments
        family = named.overrides["model_type"]
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
