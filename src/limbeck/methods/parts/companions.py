"""Networks that a method has of its own: peers of the student, copies of the teacher."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Tap, find, undisturbed
from limbeck.features.calling import uncompiled
from limbeck.methods.declarations import Context
from limbeck.methods.parts.blocks import full_precision
from limbeck.outputs import Batch, Outputs, apply


def outputs_of(
    network: nn.Module,
    points: FeaturePoints,
    batch: Batch,
    fields: Sequence[str] = (),
    teacher: str | None = None,
    *,
    positions: bool = False,
) -> Outputs:
    """What a network of a method's own gives for the inputs of a batch, as rows and in float32 at least.

    The network runs as it is: in its own mode, with a graph where its parameters learn.

    Args:
        network: the network.
        points: where its features are.
        batch: of the student's, in rows.
        fields: what is asked for besides the logits.
        teacher: name of the teacher that the network is a copy of, whose preparation of the samples it reads.
        positions: whether the task decides at every position, and so reads an embedding at each.
    """
    from limbeck.tasks.rows import rows_of

    inputs = batch.inputs if teacher is None else batch.teacher_inputs.get(teacher, batch.inputs)
    given = Tap(network, points, fields, positions=positions)(apply(full_precision, inputs))
    return rows_of(batch).of(given.map(full_precision))


def like_student(
    method: str, context: Context, instead: str | None = None
) -> tuple[nn.Module, FeaturePoints]:
    """A network like the student, with fresh weights from torch's global generator, and its features.

    Args:
        method: name of the method that needs it, for messages.
        context: what the method is bound to.
        instead: what else can be done, for the message; to name the peers unless given.
    Raises:
        LimbeckError: for a student with a part whose weights cannot be drawn anew.
    """
    peer = copy.deepcopy(uncompiled(context.student_network))
    instead = instead or f'name the peers, for example {method}(peers=["my_models:make()"])'
    draw_anew(peer, f"{method} cannot make a network like the student", instead)
    return peer, context.student_points


def draw_anew(network: nn.Module, failing: str, instead: str) -> None:
    """Draws all weights of a network anew, each module by its own rule, from torch's global generator.

    All of them learn, whatever was frozen before.

    Args:
        network: the network, which is changed.
        failing: what cannot be done without, for the message.
        instead: what else can be done, for the message.
    Raises:
        LimbeckError: for a module with parameters and no rule.
    """
    for path, module in reversed(list(network.named_modules())):  # a parent has the last word on its children
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is not None:
            reset()
        elif module._parameters:
            raise LimbeckError(
                f"{failing}: {path or 'the network'} ({type(module).__name__}) has parameters and no "
                f"reset_parameters() to draw them anew; give it one, or {instead}"
            )
    network.requires_grad_(True)


def built(
    method: str, spec: str, context: Context, role: Literal["peer", "student", "network"] = "peer"
) -> tuple[nn.Module, FeaturePoints]:
    """A network by its name in `limbeck models`, with fresh weights, and its features.

    It has the student's normalization and rescaling unless it has its own.

    Args:
        method: name of the method that needs it, for messages.
        spec: the network's name, with its arguments if it has any.
        context: what the method is bound to.
        role: what the network is, for messages: a peer of the student, or the student of a teacher to be.
    Raises:
        LimbeckError: for a network that cannot be built, or has another number of outputs.
    """
    from limbeck import models

    if os.path.exists(spec) and spec not in models.table() and spec not in models.NAMED:
        raise LimbeckError(
            f"{method}: the {role} {spec!r} is a place on the disk, and its weights are drawn anew; give the "
            "name of a network, as `limbeck models` lists them"
        )
    peer = models.build(spec, example=context.example, num_classes=context.width, facts=context.data.facts)
    normalization = models.normalization_of(context.student_network)
    if normalization is not None and models.normalization_of(peer) is None:
        models.normalize_inputs(peer, normalization)
    rescaling = models.rescaling_of(context.student_network)
    if rescaling is not None and models.rescaling_of(peer) is None:
        models.rescale_outputs(peer, rescaling)
    peer.to(context.student.logits)  # its device and its precision
    points = find(peer, context.example, dense=context.task.dense)
    with undisturbed(peer, context.example), torch.no_grad():
        classes = context.task.width_of(Tap(peer, points, ())(context.example).logits)
    if classes != context.width:
        beside = "teacher" if role == "student" else "student"
        raise LimbeckError(
            f"{method}: the {role} {spec!r} has {classes} outputs and the {beside} {context.width}; "
            "they must agree"
        )
    return peer, points


def check_no_schedule(does: str, context: Context) -> None:
    """Refuses a schedule of checkpoints where a method makes something of one teacher that stays.

    Args:
        does: the method with what it does, such as "bss moves samples across the boundary of one teacher".
        context: what the method is bound to.
    """
    if context.schedule:
        raise LimbeckError(
            f"{does}, and a schedule of checkpoints has another for each part of the training; give it the "
            "last checkpoint alone"
        )


def copied_teacher(method: str, context: Context) -> tuple[nn.Module, FeaturePoints]:
    """A copy of the teacher that belongs to the method, and its features; its parameters learn.

    The copy is in float32 at least, and in eval mode like the teacher; a method that trains it sets the mode.

    Args:
        method: name of the method that needs it, for messages.
        context: what the method is bound to.
    Raises:
        LimbeckError: where there is no live network to copy.
    """
    if context.teacher_network is None or context.teacher_points is None:
        has = "none" if context.teacher_network is None else "several, being an ensemble"
        raise LimbeckError(
            f"{method} makes a copy of the teacher's network, and this teacher has {has}; give it one network"
        )
    made = copy.deepcopy(uncompiled(context.teacher_network)).to(full_precision(context.student.logits))
    return made.requires_grad_(True), context.teacher_points
