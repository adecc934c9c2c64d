"""Networks as a config names them: zoo, factory, run directory, checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck import models
from limbeck.config import NetworkConfig, StudentConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError, nearest, unknown
from limbeck.features import as_logits, reordered
from limbeck.models import zoos
from limbeck.models.checkpoints import load_weights
from limbeck.notation import Call
from limbeck.outputs import Inputs
from limbeck.runs import huggingface, towers
from limbeck.runs.directory import load
from limbeck.runs.network_checks import check_files
from limbeck.runs.network_names import (
    brings_weights,
    card_of,
    ensemble_of,
    is_fresh,
    is_path,
    key_of,
    matching,
    members_of,
)
from limbeck.runs.network_record import read_card
from limbeck.runs.preparations import example
from limbeck.runs.schedules import call_of, last_of
from limbeck.seeds import seed_for
from limbeck.tasks import Language, Regression
from limbeck.teachers import Ensemble, LiveTeacher
from limbeck.teachers.files.reading import is_answers


def student(config: NetworkConfig, source: Source, seed: int) -> nn.Module:
    """The student, its fresh weights drawn from the seed.

    Raises:
        LimbeckError: for a schedule of checkpoints, and for a file of answers.
    """
    if call_of(config.model) is not None:
        raise LimbeckError(
            f"{config.model} is a schedule of teachers and no student, which may start from one of its files"
        )
    if is_answers(config.model):
        raise LimbeckError(f"{config.model} is a file of answers, which is a teacher and no student")
    if source.task.boxed and (models.huggingface.is_hf(config.model) or zoos.is_zoo(config.model)):
        raise LimbeckError(
            f"{config.model} is no student for detection: a detector of another package finds objects by a "
            "rule of its own, and a student learns at places of an image; take fcos(...), and let "
            f"{config.model} teach it by pseudo_boxes"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "student"))
        network = _learns_values(_network(config, source, "student"), config, source)
        lora = config.lora if isinstance(config, StudentConfig) else None
        if lora is None:
            return network
        return models.lora.adapt(
            network,
            rank=lora.r,
            alpha=2 * lora.r if lora.alpha is None else lora.alpha,
            dropout=lora.dropout,
            targets=lora.targets,
            name=config.model,
        )


def teacher(config: NetworkConfig, source: Source) -> nn.Module:
    """The teacher; several as one where the config names an ensemble, the last checkpoint of a schedule.

    Raises:
        LimbeckError: for a network of limbeck's or of a zoo's without weights: it would teach noise; for a
            file of answers.
    """
    config = last_of(config)
    if is_answers(config.model):
        raise LimbeckError(
            f"{config.model} is a file of answers about training samples, and a network is needed here; such "
            "a file is a teacher of `limbeck distill`, alone or as one of several by name"
        )
    if (call := ensemble_of(config.model)) is not None:
        return _averaged(call, config, source)
    if config.weights is None and not is_path(config.model) and not brings_weights(config.model):
        if config.model.isidentifier() and nearest(config.model, [*models.table(), *models.NAMED]) is None:
            raise _no_place("teacher", config.model)
        build(
            config, "teacher", example(config, source), source.task.width or None, source.facts
        )  # typos first
        raise LimbeckError(
            f"the teacher {config.model!r} has no weights; give a run's directory (make one with "
            f"`limbeck train --model {config.model!r}`) or set teacher.weights=FILE to a checkpoint"
        )
    return _network(config, source, "teacher")


def build(
    config: NetworkConfig,
    role: str,
    example: Inputs,
    num_classes: int | None,
    facts: Mapping[str, int] | None = None,
    task: str | None = None,
) -> nn.Module:
    """The network that a config names, with its weights where it has any.

    Args:
        role: what the network is, for messages.
        example: inputs it will get.
        num_classes: how many logits it should have.
        facts: what else it must know of the data.
        task: name of the task.
    """
    if is_path(config.model):
        network = _from_path(Path(config.model), role)
    else:
        with torch.random.fork_rng(devices=[]):
            network = models.build(
                config.model, example=example, num_classes=num_classes, facts=facts, task=task
            )
    if config.weights is not None:
        load_weights(network, config.weights, config.model)
    return network


def _network(config: NetworkConfig, source: Source, role: str) -> nn.Module:
    if not source.task.width and not source.task.embeds:
        raise LimbeckError(
            f"the data {source.name} has no labels, so nothing says what the outputs of the {role} are; give"
            " their names, names=[...]"
        )
    matched = matching(config, source, role)
    if models.huggingface.is_hf(config.model) and isinstance(source.task, Language):
        network = huggingface.language_model(config, role, source)
        if config.weights is not None:
            load_weights(network, config.weights, config.model)
    elif models.huggingface.is_hf(config.model) and config.weights is None:
        network = huggingface.build(config, role, source, example(config, source))
    elif (call := towers.towers_of(config.model)) is not None:
        network = _of_towers(call, role, source)
    else:
        width = source.task.width or None
        network = build(config, role, example(config, source), width, source.facts, source.task.name)
    if is_path(config.model):
        check_files(Path(config.model), role, source)
    if matched.order is not None and role == "student":
        raise LimbeckError(
            f"{matched.note}, and a student cannot start from that; give the outputs of the data the "
            "order of the student's, names=[...], or start from other weights"
        )
    own, wanted = models.normalization_of(network), _normalization(config, source, role)
    if own is None and wanted is not None:
        models.normalize_inputs(network, wanted)
    elif own is not None and config.normalize is not None and own != wanted:
        raise LimbeckError(
            f"the {role} {config.model!r} brings its own normalization ({own.summary}); leave out "
            f"{key_of(role)}.normalize={config.normalize}"
        )
    if matched.order is not None:
        _check_own_result(config, role, "are in another order than the data's")
        card = card_of(config)
        assert card is not None, "it was matched by its record"
        network = reordered(network, matched.order, len(card.names))
    return with_logits(network, config, source)


def _of_towers(call: Call, role: str, source: Source) -> nn.Module:
    """A network of two towers, for data that has queries and documents."""
    if not source.task.embeds:
        raise LimbeckError(
            f"the {role} {call} embeds queries and documents, and {source.name} is for {source.task.name}; "
            "give data for retrieval"
        )
    with torch.random.fork_rng(devices=[]):
        return towers.build(call)


def with_logits(network: nn.Module, config: NetworkConfig, source: Source) -> nn.Module:
    """The network as it is; for a teacher that answers with probabilities, one that answers with logits.

    Args:
        network: stays as it is.
        config: of the network.
        source: the data; its task says what the probabilities are of.
    Raises:
        LimbeckError: for a task whose outputs are no probabilities.
    """
    if not isinstance(config, TeacherConfig) or config.outputs == "logits":
        return network
    task = source.task
    if task.scores != "classes":
        raise LimbeckError(
            f"the outputs for {task.name} are values and no probabilities; leave out teacher.outputs"
        )
    _check_own_result(config, "teacher", "are probabilities")
    return as_logits(network, "one" if task.one_row_per_sample or task.dense else "each")


def _check_own_result(config: NetworkConfig, role: str, why: str) -> None:
    """Refuses logits from inside a network where what the network returns is to be changed."""
    if "logits" in config.features:
        raise LimbeckError(
            f"the outputs of the {role} {why}, which is mended in what the network returns, and its logits "
            f"are taken from {config.features['logits']!r}; leave out {key_of(role)}.features.logits"
        )


def _learns_values(network: nn.Module, config: NetworkConfig, source: Source) -> nn.Module:
    """The student; one with fresh weights for values answers on the scale of the training targets."""
    fresh = config.weights is None and not is_path(config.model)
    if fresh and source.task.columns_hold == "values" and models.rescaling_of(network) is None:
        models.rescale_outputs(network, _scale(source))
    return network


def _normalization(config: NetworkConfig, source: Source, role: str) -> models.Normalization | None:
    """What is to be put before a network that does not bring a normalization."""
    of_data = models.Normalization(source.mean, source.std) if source.mean else None
    if config.normalize == "data" and of_data is None:
        raise LimbeckError(f"{source.name} has no normalization; leave out {key_of(role)}.normalize=data")
    if config.normalize is not None:
        return of_data if config.normalize == "data" else None
    card = None if config.weights is None else read_card(config.weights)
    if card is not None:  # a run's weights
        return models.Normalization(card.mean, card.std) if card.mean and card.std else None
    return of_data if is_fresh(config) else None


def _scale(source: Source) -> models.Rescaling:
    if isinstance(source.task, Regression):
        return models.Rescaling(source.task.mean, source.task.std)
    return models.Rescaling.of(source.train.targets[source.task.labeled(source.train.targets)])


def _averaged(call: Call, config: NetworkConfig, source: Source) -> nn.Module:
    """The networks of an ensemble as one."""
    strange = [name for name in call.kwargs if name not in ("of", "weights")]
    if strange:
        raise unknown("argument of ensemble", strange[0], ("of", "weights"))
    if len(call.args) < 2 or not all(isinstance(member, str) for member in call.args):
        raise LimbeckError(
            'an ensemble names two teachers or more, in quotes: ensemble("runs/a", "runs/b", weights=[2, 1])'
        )
    if grown := [each for each in call.args if call_of(str(each)) is not None]:
        raise LimbeckError(
            f"the members of an ensemble answer all the time, and {grown[0]} is a schedule of teachers; name "
            "them as several teachers"
        )
    members = [teacher(each, source) for each in members_of(config)]
    usual = source.task.scores == "classes" and source.task.one_row_per_sample
    of: Any = call.kwargs.get("of", "probabilities" if usual else "logits")
    weights: Any = call.kwargs.get("weights")
    made = Ensemble(
        [LiveTeacher(each) for each in members], of=of, weights=weights, task=type(source.task)
    ).network
    assert made is not None
    return made


def _no_place(role: str, model: str) -> LimbeckError:
    no_name = "" if "/" in model or "." in model else "no network that `limbeck models` lists, "
    return LimbeckError(f"the {role} {model!r} is {no_name}no run directory and no file")


def _from_path(path: Path, role: str) -> nn.Module:
    if not path.exists():
        raise _no_place(role, str(path))
    folder = path if path.is_dir() else path.parent
    if (folder / "config.json").is_file() and not (folder / "student.safetensors").is_file():
        place = folder if folder.is_absolute() else f"./{folder}"
        what = "is" if path.is_dir() else "lies in"
        raise LimbeckError(f"the {role} {str(path)!r} {what} a folder of transformers; write hf:{place}")
    if path.is_file() and read_card(path) is None:
        raise LimbeckError(
            f"the checkpoint {str(path)!r} does not say which network it belongs to; give its name as the "
            f"{role} and set {role}.weights={path}"
        )
    return load(path)
