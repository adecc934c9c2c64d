"""The networks that are measured beside each other, and what one pass over a split shows of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from limbeck.data import Source
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.errors import LimbeckError
from limbeck.evaluation.cka import LinearCKA
from limbeck.evaluation.measure import Answer, inference
from limbeck.evaluation.remembered import Remembered
from limbeck.evaluation.results import CKA, Role
from limbeck.features import Tap, find
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.tasks import Comparison, Meter, Task


@dataclass(frozen=True)
class Contender:
    """A network to be measured.

    Attributes:
        network: takes the data's inputs; its modes are restored after each call.
        name: the model, in the notation.
        run: the directory it comes from, if it comes from a run.
        features: module paths that override the features found, by field.
        preparation: what it reads of a sample.
        told: the data in the tokens that it reads, where those are others than the data's; it is measured on
            them, and compared with nothing token by token.
        unseen: whether it is known that it was not trained on the validation split; thresholds and a
            temperature are chosen on that split only then.
    """

    network: nn.Module
    name: str
    run: str | None = None
    features: Mapping[str, str | list[str]] = field(default_factory=dict)
    preparation: Preparation = AS_RENDERED
    unseen: bool = True
    told: Source | None = None

    def inputs_of(self, role: str, batch: Batch) -> Inputs:
        """What it reads of a batch that was loaded for several."""
        return batch.teacher_inputs.get(role, batch.inputs)


@dataclass(frozen=True)
class Answers:
    """What one pass over a split showed.

    Attributes:
        meters: by role.
        comparison: comparison of student and teacher; None without one of them, as is the next.
        cka: how alike they represent the samples.
    """

    meters: dict[Role, Meter]
    comparison: Comparison | None
    cka: CKA | None


def answer(
    task: Task,
    contenders: Mapping[Role, Contender],
    batches: Iterable[Batch],
    examples: Mapping[Role, Inputs],
    *,
    stages: bool,
) -> Answers:
    """Measures all networks, and how close the student is to its teacher, in one pass.

    Args:
        task: what the networks are for.
        contenders: by role, on the device of the batches.
        batches: at least one.
        examples: inputs of a few samples as each network reads them, on the same device.
        stages: compare the stages too, and not only the embeddings.
    Raises:
        LimbeckError: for networks with different numbers of outputs.
    """
    compared = ("embedding", *(["stages"] if stages else []))
    pair = {"student", "teacher"} if {"student", "teacher"} <= contenders.keys() else set()
    taps: dict[Role, Answer] = {
        role: _tap(task, each, examples[role], compared if role in pair else ())
        for role, each in contenders.items()
    }
    if "teacher" in contenders:
        captured = f"{contenders['teacher'].features} {compared if pair else ()}"
        taps["teacher"] = Remembered(contenders["teacher"].network, taps["teacher"], captured)
    meters = {role: task.meter() for role in contenders}
    comparison = task.comparison() if pair else None
    alike = {field: LinearCKA() for field in compared}
    with ExitStack() as stack:
        for each in contenders.values():
            stack.enter_context(inference(each.network))
        for batch in batches:
            outputs = {role: tap(contenders[role].inputs_of(role, batch)) for role, tap in taps.items()}
            _check_widths(task, outputs, batch)
            for role, found in outputs.items():
                meters[role].update(found, batch)
            if comparison is not None:
                student, teacher = outputs["student"], outputs["teacher"]
                comparison.update(student, teacher, batch)
                for field, cka in alike.items():
                    if field in student and field in teacher:
                        cka.add(_tensors(student, field), _tensors(teacher, field))
    return Answers(meters, comparison, _similarity(alike) if pair else None)


def _similarity(alike: Mapping[str, LinearCKA]) -> CKA:
    values = {field: cka.values() for field, cka in alike.items()}
    embedding, maps = values["embedding"], values.get("stages")
    return CKA(
        embedding=None if embedding is None else float(embedding),
        stages=None if maps is None else tuple(map(tuple, maps.tolist())),
    )


def _check_widths(task: Task, outputs: Mapping[Role, Outputs], batch: Batch) -> None:
    """Refuses networks that cannot be compared, because their rows have different numbers of scores."""
    if task.embeds:
        return
    widths = {role: task.rows(batch, each).logits(each.logits).shape[-1] for role, each in outputs.items()}
    first = next(iter(widths))
    for role, width in widths.items():
        if width != widths[first]:
            raise LimbeckError(
                f"the {first} has {widths[first]} outputs, and the {role} has {width}; they cannot be "
                "compared"
            )


def _tap(task: Task, contender: Contender, example: Inputs, fields: Collection[str]) -> Tap:
    """Taps those of the fields that the network has."""
    points = find(
        contender.network, example, overrides=contender.features, width=task.width, dense=task.dense
    )
    return Tap(contender.network, points, [*task.fields, *(field for field in fields if points.of(field))])


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
