"""The doors to timm and torchvision: `timm:resnet18(in_chans=1)`, `torchvision:mobilenet_v3_small`.

Networks of torchvision that label pixels and find objects have the same door; one of timm labels pixels with
a head of limbeck's, `timm:resnet18(head="deeplab")`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn

from limbeck.errors import LimbeckError, unknown
from limbeck.models.factory import refuse_names
from limbeck.models.inputs import described
from limbeck.models.normalize import Normalization, normalize_inputs
from limbeck.models.object_answers import answer_by_place
from limbeck.models.zoo_segmenter import segmenter
from limbeck.notation import Call, Value, parse_call
from limbeck.optional import imported
from limbeck.outputs import Inputs

_FETCHES = {"timm": "pretrained", "torchvision": "weights"}
"""The packages, and the argument of each that has it fetch trained weights."""

_BACKBONE = "weights_backbone"
"""The argument of torchvision's dense networks that fetches weights of a classifier for a part of them."""

_OF_COCO = 91
"""Outputs of a detector of torchvision that is told none, the background among them."""

_SPEC = re.compile(rf"({'|'.join(_FETCHES)}):([\w.]+)(\(.*\))?", re.DOTALL)


def is_zoo(spec: str) -> bool:
    """Whether a model is one of timm's or torchvision's."""
    return spec.partition(":")[0] in _FETCHES


def from_zoo(spec: str, example: Inputs | None = None, num_classes: int | None = None) -> nn.Module:
    """A network of timm or torchvision, in the class that its package gives it.

    Weights are fresh unless they are asked for, `timm:resnet18(pretrained=true)` or
    `torchvision:resnet18(weights="DEFAULT")`; a network with fetched weights brings their normalization. One
    that labels pixels or finds objects has as many outputs as its fetched weights, which `labels_of` names,
    and fetches those of its backbone by `weights_backbone="DEFAULT"`. One that finds objects is in eval mode
    and answers as `limbeck.models.object_answers` says.

    Args:
        spec: the package, a colon, a name as the package writes it, and arguments by name if there are any.
        example: (B, C, H, W) images; they tell timm its `in_chans`.
        num_classes: number of logits, unless the spec tells it.
    Raises:
        LimbeckError: if the package is not installed, has no such network, or refuses its arguments; for
            arguments that contradict the data.
    """
    package, name, arguments = _read(spec)
    zoo = imported(package, "zoo")
    for fact, value in _facts(spec, package, example, num_classes).items():
        if arguments.setdefault(fact, value) != value:
            raise LimbeckError(f"{spec}: {fact} is {value} in the data")
    try:
        return (_timm if package == "timm" else _torchvision)(zoo, name, arguments)
    except LimbeckError:
        raise
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise LimbeckError(f"{package}:{name}: {reason[0]}") from error


def fetches_weights(spec: str) -> bool:
    """Whether a network of a zoo is asked for with trained weights; those of a backbone alone are none."""
    package, _, arguments = _read(spec)
    return bool(arguments.get(_FETCHES[package])) and not _has_head(package, arguments)


def _has_head(package: str, arguments: Mapping[str, Value]) -> bool:
    """Whether a network of timm gets a head that labels pixels."""
    return package == "timm" and "head" in arguments


def labels_of(spec: str) -> tuple[str, tuple[str, ...]] | None:
    """What a network of torchvision that labels pixels or finds objects was trained for.

    Args:
        spec: of a zoo.
    Returns: the name of the task, and those of the classes that its fetched weights tell apart, for objects
        without the background; None for any other network, and without fetched weights.
    Raises:
        LimbeckError: if torchvision is not installed, or has no such weights.
    """
    package, name, arguments = _read(spec)
    if package != "torchvision" or not fetches_weights(spec):
        return None
    models = imported(package, "zoo").models
    task = next((task for task, room in _rooms(models).items() if name in room), None)
    if task in (None, "classification"):
        return None
    names: Sequence[str] = _weights(models, name, arguments).meta["categories"]
    plain = [each.strip("_") for each in names]  # "__background__"
    if task == "detection":
        plain = plain[1:]
    return str(task), told_apart(plain)


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with its number behind each that occurs more than once, as "N/A" does among COCO's."""
    return tuple(f"{name} {number}" if names.count(name) > 1 else name for number, name in enumerate(names))


def untrained(spec: str) -> str:
    """The spec of the same network with fresh weights; a spec of no zoo as it is."""
    if not is_zoo(spec):
        return spec
    package, name, arguments = _read(spec)
    fetched = arguments.pop(_FETCHES[package], None)
    backbone = arguments.pop(_BACKBONE, None) if package == "torchvision" else None
    if not fetched and not backbone:
        return spec
    changed: dict[str, Value] = {}
    if package == "torchvision" and fetched:  # some of its networks do not only get weights then
        changed |= {"transform_input": True} if name in ("googlenet", "inception_v3") else {}
        changed |= {"aux_logits": False} if name == "googlenet" else {}
        changed |= {"aux_loss": True} if name.startswith(("deeplabv3_", "fcn_")) else {}
    return f"{package}:{Call(name, kwargs={**changed, **arguments})}"


def _read(spec: str) -> tuple[str, str, dict[str, Value]]:
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise LimbeckError(f"{spec!r} is no network of a zoo; it is written package:name(argument=value)")
    package, name, arguments = match.groups()
    call = parse_call(f"network{arguments or ''}", f"arguments of {package}:{name}")
    if call.args:
        raise LimbeckError(f"{package}:{name} takes its arguments by name")
    for value in call.kwargs.values():
        refuse_names(spec, value)
    return package, name, dict(call.kwargs)


def _facts(spec: str, package: str, example: Inputs | None, num_classes: int | None) -> dict[str, int]:
    facts = {} if num_classes is None else {"num_classes": num_classes}
    if example is None:
        return facts
    if not isinstance(example, Tensor) or example.dim() != 4:
        raise LimbeckError(f"{spec} takes images of shape (B, C, H, W), not {described(example)}")
    if package == "torchvision" and example.shape[1] != 3:
        raise LimbeckError(f"{spec} takes images of 3 channels, not {example.shape[1]}")
    return facts if package == "torchvision" else {**facts, "in_chans": example.shape[1]}


def _timm(timm: Any, name: str, arguments: dict[str, Value]) -> nn.Module:
    if not timm.is_model(name):
        raise unknown("network of timm:", name, timm.list_models())
    if "checkpoint_path" in arguments:
        raise LimbeckError(
            f"timm:{name}: timm would run code in the file at checkpoint_path; leave it out, and give the "
            "file as the weights: set teacher.weights=FILE"
        )
    labels_pixels = _has_head("timm", arguments)
    network: Any = segmenter(timm, name, arguments) if labels_pixels else timm.create_model(name, **arguments)
    if arguments.get("pretrained"):
        config = (network.trunk.network if labels_pixels else network).pretrained_cfg
        if arguments.get("in_chans", 3) == len(config["mean"]):  # timm adapts weights to other channels
            normalize_inputs(network, Normalization(tuple(config["mean"]), tuple(config["std"])))
    return network  # type: ignore[no-any-return]


def _torchvision(torchvision: Any, name: str, arguments: dict[str, Value]) -> nn.Module:
    models = torchvision.models
    rooms = _rooms(models)
    task = next((task for task, room in rooms.items() if name in room), None)
    if task is None:
        raise unknown("network of torchvision:", name, [each for room in rooms.values() for each in room])
    if "pretrained" in arguments:
        raise LimbeckError(f'torchvision:{name} has no argument pretrained; write weights="DEFAULT"')
    given: dict[str, Any] = dict(arguments)
    fetched: Any = None
    if given.get("weights") is not None:
        fetched = _weights(models, name, arguments)
    if task != "classification":
        if fetched is not None:
            given.pop("num_classes", None)  # its outputs are matched by name
        elif given.setdefault(_BACKBONE, None) is not None:  # unlike torchvision, which fetches them
            fetched = _backbone(models, name, arguments)
    network: nn.Module = models.get_model(name, **given)
    if task == "detection":  # it normalizes images itself
        whole = given.get("weights") is not None
        outputs = len(fetched.meta["categories"]) if whole else given.get("num_classes", _OF_COCO)
        return answer_by_place(network.eval(), outputs - 1)
    if fetched is not None:
        transforms = fetched.transforms()
        normalize_inputs(network, Normalization(tuple(transforms.mean), tuple(transforms.std)))
    return network


def _rooms(models: Any) -> dict[str, list[str]]:
    """The names of torchvision's networks for images, by what they are for."""
    return {
        "classification": models.list_models(module=models),
        "segmentation": models.list_models(module=models.segmentation),
        "detection": models.list_models(module=models.detection),
    }


def _weights(models: Any, name: str, arguments: dict[str, Value]) -> Any:
    """The weights that are asked for."""
    asked, known = str(arguments["weights"]), models.get_model_weights(name).__members__
    if asked not in known:
        raise unknown(f"weights of torchvision:{name}:", asked, known)
    return known[asked]


def _backbone(models: Any, name: str, arguments: dict[str, Value]) -> Any:
    """The weights that are asked for the backbone of a dense network."""
    parameter = signature(models.get_model_builder(name)).parameters[_BACKBONE]
    asked, known = str(arguments[_BACKBONE]), type(parameter.default).__members__
    if asked not in known:
        raise unknown(f"weights of the backbone of torchvision:{name}:", asked, known)
    return known[asked]
