"""Networks as a config names them: zoo, factory, run directory, checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from limbeck import models
from limbeck.config import NetworkConfig, StudentConfig, TeacherConfig
from limbeck.data import Source
from limbeck.data.preparation import Preparation
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.data.towers import TowerTokenization
from limbeck.errors import LimbeckError, unknown
from limbeck.features import as_logits, reordered
from limbeck.models import zoos
from limbeck.models.checkpoints import load_weights
from limbeck.notation import Call, parse_call
from limbeck.outputs import Inputs
from limbeck.runs import huggingface, towers, zoo_networks
from limbeck.runs.directory import TOKENIZER, Run, load
from limbeck.runs.matching import Match, UnmatchedError, match
from limbeck.runs.network_record import Card, digests, read_card, sample_shape
from limbeck.runs.schedules import call_of, last_of, schedule_of
from limbeck.seeds import seed_for
from limbeck.tasks import Language, Regression, Task
from limbeck.teachers import Ensemble, LiveTeacher
from limbeck.teachers.files.reading import is_answers

C = TypeVar("C", bound=NetworkConfig)


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
    if config.weights is None and not is_path(config.model) and not _brings_weights(config.model):
        build(
            config, "teacher", _example(config, source), source.task.width or None, source.facts
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


def is_path(model: str) -> bool:
    """Whether a model is a place; a name of the zoo stays a name, also beside a folder called the same."""
    if model in models.table() or model in models.NAMED or models.encoders.static_source(model) is not None:
        return False
    if towers.towers_of(model) is not None:
        return False
    means_a_path = model.endswith((".safetensors", ".pt", ".pth")) or ("/" in model and ":" not in model)
    return (
        means_a_path or is_answers(model) or os.path.exists(model)
    )  # unlike Path.exists, at ease with a long text


def _brings_weights(model: str) -> bool:
    if models.huggingface.is_hf(model):
        return models.huggingface.read(model).brings_weights
    if towers.towers_of(model) is not None:
        return True
    return zoos.fetches_weights(model) if zoos.is_zoo(model) else ":" in model


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
        network = huggingface.build(config, role, source, _example(config, source))
    elif (call := towers.towers_of(config.model)) is not None:
        network = _of_towers(call, role, source)
    else:
        width = source.task.width or None
        network = build(config, role, _example(config, source), width, source.facts, source.task.name)
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


def card_of(config: NetworkConfig) -> Card | None:
    """The record of the network that a config names, where limbeck wrote its weights; else None."""
    config = last_of(config)
    if config.weights is not None:
        return read_card(config.weights) if config.weights.is_file() else None
    if models.huggingface.is_hf(config.model):
        return huggingface.card_of(config.model)
    if zoos.is_zoo(config.model):
        return zoo_networks.card_of(config.model)
    if not is_path(config.model):
        return None
    path = Path(config.model)
    file = path / "student.safetensors" if path.is_dir() else path
    return read_card(file) if file.is_file() else None


def matching(config: NetworkConfig, source: Source, role: str) -> Match:
    """How the outputs of a network that a config names become those of the data; see `matching.match`."""
    if models.huggingface.is_hf(config.model) and (role == "student" or source.task.embeds):
        return Match()  # its head is a fresh one where it has other outputs, and an encoder has none
    return match(card_of(config), source, role, str(config.weights or config.model))


@contextmanager
def shown_beside(other: tuple[str, NetworkConfig] | None, source: Source) -> Iterator[None]:
    """Makes an error on outputs that cannot be matched show those of another network of the run as well.

    Args:
        other: the role and the config of that network, which has the data's outputs if it brings none; None
            where there is no other.
        source: the data.
    """
    try:
        yield
    except UnmatchedError as error:
        if other is None:
            raise
        card = card_of(other[1])
        raise error.beside(called(other[0]), card.names if card else source.task.outputs) from None


def input_note(config: NetworkConfig, source: Source, role: str) -> str | None:
    """A sentence for a network that was made for inputs of another kind; None for any other."""
    card = None if source.kind == "text" else card_of(config)
    if card is None or isinstance(card.input_shape, dict):
        return None
    place = config.weights or config.model
    shape = sample_shape(_example(config, source))
    if shape != card.input_shape:
        remedy = f"; {key_of(role)}.size sets the size that it reads" if source.kind == "image" else ""
        return (
            f"the {role} {str(place)!r} was made for inputs of shape {card.input_shape}, and gets {shape}"
            f"{remedy}"
        )
    usual = Source.preparation
    if card.columns or usual in (card.preparation, source.preparation):
        return None  # columns are compared by name, and what is usual says nothing
    if card.preparation == source.preparation:
        return None
    return (
        f"the {role} {str(place)!r} was made for {card.preparation}, and the inputs of {source.name} are "
        f"{source.preparation}"
    )


def notes(config: NetworkConfig, network: nn.Module, source: Source, role: str) -> tuple[str, ...]:
    """Sentences on what is assumed of a network's inputs and outputs.

    Args:
        config: what names the network.
        network: the network that was made of it.
        source: the data.
        role: what the network is, "student" or "teacher".
    """
    schedule = schedule_of(config.model)
    whose = called(role)
    said = [schedule and schedule.note(whose), normalization_note(last_of(config), network, source, role)]
    for each in members_of(config):
        said += [matching(each, source, role).note, input_note(each, source, role)]
        said += [huggingface.cut_note(preparation(each, source.task), source, whose)]
    if not source.task.embeds:  # an encoder needs no head, and static embeddings have no place for one
        if role == "student" and models.huggingface.is_hf(config.model):
            said += [huggingface.head_note(config.model, source)]
        said += [huggingface.number_note(each.model, source, whose) for each in members_of(config)]
        said += [huggingface.code_note(each.model, whose) for each in members_of(config)]
        said += [huggingface.size_note(each.model, source, whose) for each in members_of(config)]
    return tuple(note for note in said if note)


def called(role: str) -> str:
    """What messages call a network: "the student", "the teacher", or "the teacher 'big'" of several."""
    return f"the {role}" if role in ("student", "teacher") else f"the teacher {role!r}"


def key_of(role: str) -> str:
    """Where the config says what a network is: "student", "teacher", or "teachers.big" for one of several."""
    return role if role in ("student", "teacher") else f"teachers.{role}"


def members_of(config: C) -> tuple[C, ...]:
    """The configs of an ensemble's members; of one network its own, of a schedule its last checkpoint's."""
    call = ensemble_of(config.model)
    if call is None:
        return (last_of(config),)
    return tuple(config.model_copy(update={"model": str(each)}) for each in call.args)


def read_by(config: NetworkConfig) -> tuple[str, ...]:
    """The models that a config reads: those of an ensemble, the run of a schedule, or the one it names."""
    call = ensemble_of(config.model) or call_of(config.model) or towers.towers_of(config.model)
    return (config.model,) if call is None else tuple(each for each in call.args if isinstance(each, str))


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
    return of_data if _is_fresh(config) else None


def normalization_note(config: NetworkConfig, network: nn.Module, source: Source, role: str) -> str | None:
    """A sentence for a network with weights from elsewhere before which nothing is put; None for any other.

    Args:
        config: what names the network.
        network: the network that was made of it.
        source: the data, which may have a normalization.
        role: what the network is, "student" or "teacher".
    """
    if config.normalize is not None or not source.mean or config.model.startswith("<"):
        return None  # the user has said it, there is nothing to say, or an object was handed over
    if source.task.boxed and zoos.is_zoo(config.model):
        return None  # detectors of torchvision normalize images themselves
    if _is_fresh(config) or models.normalization_of(network) is not None or _is_of_a_run(config):
        return None
    return (
        f"no normalization is put before the {role} {config.model}, whose weights limbeck did not make; "
        f"set {key_of(role)}.normalize=data if it shall read inputs standardized by the training split of "
        f"{source.name}"
    )


def _is_fresh(config: NetworkConfig) -> bool:
    """Whether limbeck draws the network's weights; nobody can tell what a factory has put in its network."""
    return config.weights is None and not is_path(config.model) and not _brings_weights(config.model)


def may_have_seen(config: NetworkConfig, source: Source) -> bool:
    """Whether the network starts from weights that may have been trained on the validation split.

    Fresh weights were not, and neither were those of a run on the same data.
    """
    if _is_fresh(config) or config.model.startswith("<"):
        return False
    place = config.weights or Path(config.model)
    run = Run(place if place.is_dir() else place.parent)
    return not run.finished or run.result.data.fingerprint != source.fingerprint()


def _is_of_a_run(config: NetworkConfig) -> bool:
    return is_path(config.model) or (config.weights is not None and read_card(config.weights) is not None)


def _scale(source: Source) -> models.Rescaling:
    if isinstance(source.task, Regression):
        return models.Rescaling(source.task.mean, source.task.std)
    return models.Rescaling.of(source.train.targets[source.task.labeled(source.train.targets)])


def preparation(config: NetworkConfig, task: Task | type[Task]) -> Preparation:
    """What the network reads of a sample: the size that the config says, or that its run trained it at.

    Args:
        config: of the network.
        task: what the network is for.
    """
    if config.size is None and ensemble_of(config.model) is not None:
        sizes = {preparation(each, task) for each in members_of(config)}
        if len(sizes) > 1:
            raise LimbeckError(
                f"the members of {config.model} read images of different sizes; name them as several teachers"
            )
        return sizes.pop() if sizes else Preparation()
    config = last_of(config)
    if models.huggingface.is_hf(config.model):
        return huggingface.preparation(config, task)
    if (call := towers.towers_of(config.model)) is not None:
        return towers.preparation(call)
    if (source := models.encoders.static_source(config.model)) is not None:
        return huggingface.tokens_of_static(source)
    if config.size is not None or not is_path(config.model):
        return Preparation(config.size)
    return preparation_of(card_of(config.model_copy(update={"weights": None})), Path(config.model))


def preparation_of(card: Card | None, place: Path) -> Preparation:
    """What a network reads of a sample, by its record.

    Args:
        card: the record; None for a network without one.
        place: its run's directory or its weights file.
    Raises:
        LimbeckError: if the tokenizer that it was trained with is not there.
    """
    if card is None or card.tokenizer is None:
        return card.reads if card else Preparation()
    folders = [each / TOKENIZER for each in (place, *place.parents[:2])]
    folder = next((each for each in folders if each.is_dir()), None)
    if folder is None:
        raise LimbeckError(
            f"the tokenizer of {str(place)!r} is gone: there is no folder {TOKENIZER} beside it"
        )
    if (folder / "query").is_dir():
        found: Tokenization = TowerTokenization.saved(folder)
    else:
        found = tokenization(str(folder), card.max_length)
    if found.digest != card.tokenizer:
        raise LimbeckError(f"{str(folder)!r} is another tokenizer than {str(place)!r} was trained with")
    prompts = tuple(sorted(card.prompts.items()))
    if isinstance(found, TowerTokenization):
        return TowerTokenization.of(
            replace(found.query, prompts=prompts), replace(found.document, prompts=prompts)
        )
    return replace(found, prompts=prompts)


def student_preparation(config: NetworkConfig, task: Task) -> Preparation:
    """What the student reads; one that starts from a run reads images at the size that the config says.

    Args:
        config: of the student.
        task: what it is for.
    """
    found = preparation(config, task)
    brought = models.huggingface.is_hf(config.model) or isinstance(found, Tokenization)
    return found if brought else Preparation(config.size)


def reads_of(config: NetworkConfig, source: Source) -> Preparation:
    """What the student reads, with the tokenizer of the data where that is of the networks' making."""
    return student_preparation(config, source.task) if source.tokens is None else source.tokens


def _example(config: NetworkConfig, source: Source) -> Inputs:
    return source.example(1, preparation(config, source.task))


def ensemble_of(model: str) -> Call | None:
    """The call that a model text is, if it is `ensemble("runs/a", "runs/b", ...)`."""
    return parse_call(model, "teacher") if model.startswith("ensemble(") else None


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


def check_files(path: Path, role: str, source: Source) -> None:
    """Refuses a network whose inputs meant something else: other words by their tokens, or other columns."""
    card = read_card(path / "student.safetensors" if path.is_dir() else path)
    files = digests(source.files)
    for name in files if card and card.tokenizer is None else ():
        if card and card.files.get(name) != files[name]:
            raise LimbeckError(
                f"the {role} {str(path)!r} was trained with another {name} than that of {source.name}; "
                "give the data and its arguments as in that run's config.yaml"
            )
    if card and card.columns and source.columns and card.columns != source.columns:
        raise LimbeckError(
            f"the {role} {str(path)!r} takes the columns {', '.join(card.columns)}, and those of "
            f"{source.name} are {', '.join(source.columns)}; give the data with the {role}'s columns in "
            "their order, columns=[...]"
        )


def check_labels(config: TeacherConfig, source: Source) -> None:
    """Refuses a teacher of which it is not said, or not truly, whether its labels were the noisy ones."""
    if source.noise is None and config.labels is not None:
        raise LimbeckError(f"the labels of {source.name} are clean; leave out teacher.labels")
    if source.noise is not None and config.labels is None:
        raise LimbeckError(
            f"the training labels of {source.name} are noisy; say which ones the teacher learned from: "
            "set teacher.labels=clean or teacher.labels=noisy"
        )
    schedule = schedule_of(config.model)
    place = config.weights or (Path(config.model) if is_path(config.model) else None)
    place = place if schedule is None else schedule.run.path
    run = None if place is None else Run(place if place.is_dir() else place.parent)
    if source.noise is None or run is None or not run.finished:
        return  # there is no record to check it against
    learned, said = run.result.data.noise, source.noise if config.labels == "noisy" else None
    if learned != said:
        raise LimbeckError(
            f"teacher.labels={config.labels} says that the teacher learned from {said or 'clean labels'}, "
            f"but {str(place)!r} learned from {learned or 'clean labels'}"
        )


def _from_path(path: Path, role: str) -> nn.Module:
    if not path.exists():
        raise LimbeckError(f"the {role} {str(path)!r} is no run directory and no file")
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
