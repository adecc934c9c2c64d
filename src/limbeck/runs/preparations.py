"""What a network reads of a sample: images of a size, tokens of its own tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from limbeck import models
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.data.preparation import Preparation
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.data.towers import TowerTokenization
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs
from limbeck.runs import huggingface, towers
from limbeck.runs.directory import TOKENIZER
from limbeck.runs.network_names import card_of, ensemble_of, is_path, members_of
from limbeck.runs.network_record import Card
from limbeck.runs.schedules import last_of
from limbeck.tasks import Task


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


def example(config: NetworkConfig, source: Source) -> Inputs:
    """Inputs of one sample as the network reads them."""
    return source.example(1, preparation(config, source.task))
