"""The networks that are measured beside each other, and their answers for one split."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.evaluation.cka import LinearCKA
from limbeck.evaluation.predict import Predictions, inference
from limbeck.evaluation.results import CKA, Role
from limbeck.features import Tap, find
from limbeck.outputs import UNLABELED, Batch, Inputs


@dataclass(frozen=True)
class Contender:
    """A network to be measured.

    Attributes:
        network: takes the data's inputs; its modes are restored after each call.
        name: the model, in the notation.
        run: the directory it comes from, if it comes from a run.
        features: module paths that override the features found, by field.
    """

    network: nn.Module
    name: str
    run: str | None = None
    features: Mapping[str, str | list[str]] = field(default_factory=dict)


def answer(
    contenders: Mapping[Role, Contender], batches: Iterable[Batch], example: Inputs, *, stages: bool
) -> tuple[dict[Role, Predictions], CKA]:
    """The answers of all networks, and how alike student and teacher represent the samples, in one pass.

    Args:
        contenders: by role, on the device of the batches.
        batches: at least one.
        example: inputs of a few samples, on the same device.
        stages: compare the stages too, and not only the embeddings.
    """
    compared = ("embedding", *(["stages"] if stages else []))
    pair = {"student", "teacher"} if "teacher" in contenders else set()
    taps = {role: _tap(each, example, compared if role in pair else ()) for role, each in contenders.items()}
    logits: dict[Role, list[Tensor]] = {role: [] for role in contenders}
    targets: list[Tensor] = []
    alike = {field: LinearCKA() for field in compared}
    with ExitStack() as stack:
        for each in contenders.values():
            stack.enter_context(inference(each.network))
        for batch in batches:
            outputs = {role: tap(batch.inputs) for role, tap in taps.items()}
            for role, found in outputs.items():
                logits[role].append(found.logits.float().cpu())
            targets.append(
                torch.full((len(batch),), UNLABELED) if batch.targets is None else batch.targets.cpu()
            )
            if pair:
                student, teacher = outputs["student"], outputs["teacher"]
                for field, cka in alike.items():
                    if field in student and field in teacher:
                        cka.add(_tensors(student, field), _tensors(teacher, field))
    predictions = {role: Predictions(torch.cat(parts), torch.cat(targets)) for role, parts in logits.items()}
    values = {field: cka.values() for field, cka in alike.items()}
    embedding, maps = values["embedding"], values.get("stages")
    return predictions, CKA(
        embedding=None if embedding is None else float(embedding),
        stages=None if maps is None else tuple(map(tuple, maps.tolist())),
    )


def _tap(contender: Contender, example: Inputs, fields: Collection[str]) -> Tap:
    """Taps those of the fields that the network has."""
    points = find(contender.network, example, overrides=contender.features)
    return Tap(contender.network, points, [field for field in fields if points.of(field)])


def _tensors(outputs: Mapping[str, Any], field: str) -> list[Tensor]:
    """The field's representations; padding of a text is no part of them."""
    tensors = list(outputs[field]) if field == "stages" else [outputs[field]]
    if "mask" not in outputs:
        return tensors
    mask = outputs["mask"]
    return [
        tensor * mask.unsqueeze(2) if tensor.ndim == 3 and tensor.shape[:2] == mask.shape else tensor
        for tensor in tensors
    ]
