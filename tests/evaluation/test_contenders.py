"""Networks of a task that decides at positions, beside each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.evaluation.contenders import Contender, answer
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import TokenClassification
from limbeck.tasks.token_classification.meter import TokenMeter
from maps import Maps, Pixels, images
from token_batches import TAGS, Tagger, batch, words

TASK = TokenClassification(TAGS)


def test_networks_that_read_other_tokens_are_measured_on_the_same_words() -> None:
    given = replace(batch(), teacher_inputs={"teacher": words(3)})
    student, teacher = Tagger(4).eval(), Tagger(6, seed=1).eval()
    found = answer(
        TASK,
        {"student": Contender(student, "s"), "teacher": Contender(teacher, "t")},
        [given],
        {"student": words(2), "teacher": words(3)},
        stages=True,
    )
    for role, network, read in (("student", student, words(2)), ("teacher", teacher, words(3))):
        meter = TokenMeter(TAGS)
        with torch.no_grad():
            meter.update(Outputs(logits=read.of(network(**read), "x"), words=read.read), given)
        assert found.meters[role].compute() == meter.compute()  # type: ignore[index]
    assert found.comparison is not None
    assert found.cka is not None
    assert found.cka.embedding is not None


def test_maps_are_compared_though_their_embeddings_are_averaged() -> None:
    inputs, targets = images(6)
    networks = {"student": Contender(Pixels(4), "s"), "teacher": Contender(Pixels(6, seed=1), "t")}
    batches = [Batch(inputs, targets)]
    task = Maps(("a", "b", "c"))
    found = answer(task, networks, batches, dict.fromkeys(networks, inputs[:2]), stages=False)  # type: ignore[arg-type]
    assert 0 <= found.meters["student"].compute()["accuracy"] <= 1


def test_another_number_of_tags_is_refused() -> None:
    networks = {"student": Contender(Tagger(4), "s"), "teacher": Contender(Tagger(6, tags=3), "t")}
    examples = {"student": words(2), "teacher": words(2)}
    with pytest.raises(LimbeckError, match="the student has 5 outputs, and the teacher has 3"):
        answer(TASK, networks, [batch()], examples, stages=False)  # type: ignore[arg-type]
