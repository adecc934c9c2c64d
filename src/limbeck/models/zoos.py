"""The doors to timm and torchvision: `timm:resnet18(in_chans=1)`, `torchvision:mobilenet_v3_small`."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from limbeck.errors import LimbeckError, unknown
from limbeck.models.factory import refuse_names
from limbeck.models.inputs import described
from limbeck.models.normalize import Normalization, normalize_inputs
from limbeck.notation import Call, Value, parse_call
from limbeck.optional import imported
from limbeck.outputs import Inputs

_FETCHES = {"timm": "pretrained", "torchvision": "weights"}
"""The packages, and the argument of each that has it fetch trained weights."""

_SPEC = re.compile(rf"({'|'.join(_FETCHES)}):([\w.]+)(\(.*\))?", re.DOTALL)


def is_zoo(spec: str) -> bool:
    """Whether a model is one of timm's or torchvision's."""
    return spec.partition(":")[0] in _FETCHES


def from_zoo(spec: str, example: Inputs | None = None, num_classes: int | None = None) -> nn.Module:
    """A network of timm or torchvision, in the class that its package gives it.

    Weights are fresh unless they are asked for, `timm:resnet18(pretrained=true)` or
    `torchvision:resnet18(weights="DEFAULT")`; a network with fetched weights brings their normalization.

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
    """Whether a network of a zoo is asked for with trained weights."""
    package, _, arguments = _read(spec)
    return bool(arguments.get(_FETCHES[package]))


def untrained(spec: str) -> str:
    """The spec of the same network with fresh weights; a spec of no zoo as it is."""
    if not is_zoo(spec) or not fetches_weights(spec):
        return spec
    package, name, arguments = _read(spec)
    del arguments[_FETCHES[package]]
    changed: dict[str, Value] = {}
    if package == "torchvision":  # two of its networks do not only get weights when they are asked to
        changed |= {"transform_input": True} if name in ("googlenet", "inception_v3") else {}
        changed |= {"aux_logits": False} if name == "googlenet" else {}
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
    network: nn.Module = timm.create_model(name, **arguments)
    if arguments.get("pretrained"):
        config: Any = network.pretrained_cfg
        if arguments.get("in_chans", 3) == len(config["mean"]):  # timm adapts weights to other channels
            normalize_inputs(network, Normalization(tuple(config["mean"]), tuple(config["std"])))
    return network


def _torchvision(torchvision: Any, name: str, arguments: dict[str, Value]) -> nn.Module:
    models = torchvision.models
    if name not in (names := models.list_models(module=models)):
        raise unknown("network of torchvision:", name, names)
    if "pretrained" in arguments:
        raise LimbeckError(f'torchvision:{name} has no argument pretrained; write weights="DEFAULT"')
    weights, known = arguments.get("weights"), models.get_model_weights(name).__members__
    if weights is not None and weights not in known:
        raise unknown(f"weights of torchvision:{name}:", str(weights), known)
    network: nn.Module = models.get_model(name, **arguments)
    if weights is not None:
        transforms = known[weights].transforms()
        normalize_inputs(network, Normalization(tuple(transforms.mean), tuple(transforms.std)))
    return network
