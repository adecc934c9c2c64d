"""Token classification: targets, and rows that are the words that all networks read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck import Distiller, LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import TokenClassification, from_record, named
from limbeck.words import LOST, Words
from token_batches import COUNTS, TAGS, Tagger, batch, targets, words

TASK = TokenClassification(TAGS)
READ = torch.tensor([[place < count for place in range(5)] for count in COUNTS])


def test_it_is_a_task_by_its_name() -> None:
    assert named("token_classification") is TokenClassification
    assert from_record(json.loads(json.dumps(TASK.record()))) == TASK
    assert (TASK.width, TASK.columns, TASK.summary, TASK.hub_tag) == (5, 5, "5 tags", "token-classification")
    assert (TASK.recipe(teacher=True), TASK.recipe(teacher=False)) == ("0.5*ce + 0.5*kd(temperature=2)", "ce")
    assert TASK.width_of(torch.zeros(2, 7, 5)) == 5


def test_a_task_of_targets() -> None:
    assert TokenClassification.of(None, None, torch.tensor([[0, 3], [1, -100]])).names == ("0", "1", "2", "3")
    assert TokenClassification.of(TAGS, None, targets()).names == TAGS
    with pytest.raises(LimbeckError, match="no training sentence has tags, so their number is unknown"):
        TokenClassification.of(None, None, torch.empty(3, 0, dtype=torch.int64))
    with pytest.raises(LimbeckError, match="at least 2 tags, not 1"):
        TokenClassification(("O",))


def test_targets_are_ids_of_words() -> None:
    assert TokenClassification.as_targets(None, 3, "test").shape == (3, 0)
    assert TokenClassification.as_targets([[0, 1], [2, -100]], 2, "test").dtype == torch.int64
    assert TokenClassification.labeled(targets()).all()
    assert TASK.counts(torch.tensor([[0, 0, 4], [1, -100, -100]])) == (2, 1, 0, 0, 1)
    with pytest.raises(LimbeckError, match=r"integers \(N, W\), filled up with -100, not torch.float32"):
        TokenClassification.as_targets(torch.zeros(2, 3), 2, "test")
    with pytest.raises(LimbeckError, match="there are 3 test inputs but 2 targets"):
        TokenClassification.as_targets([[0], [1]], 3, "test")
    with pytest.raises(LimbeckError, match="training target 5 of sentence 1, word 0, is out of range"):
        TASK.check(torch.tensor([[0], [5]]), "training")


def test_the_stratum_of_a_sentence_is_its_rarest_tag() -> None:
    tags = torch.tensor([[0, 0, 1], [0, 1, 2], [0, 0, -100], [-100, -100, -100]])
    assert TokenClassification.strata(tags).tolist() == [1, 2, 0, UNLABELED]
    assert TokenClassification.strata(tags[:, :0]).tolist() == [UNLABELED] * 4


@pytest.mark.parametrize("shape", [(2, 5), (2, 7, 4), (2, 5, 7)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError, match=r"5 tags takes those of each token, \(B, L, 5\)"):
        TASK.check_outputs(torch.zeros(shape), "student")


def test_a_row_is_a_word_that_is_read() -> None:
    given = batch()
    rows = TASK.rows(given, Outputs())
    assert rows.count == sum(COUNTS) == int(TASK.count(given))
    assert rows.targets is not None
    assert torch.equal(rows.targets, targets()[READ])
    assert rows.sample is not None
    assert torch.equal(rows.sample, torch.arange(6)[:, None].expand(6, 5)[READ])
    logits = torch.randn(6, 5, 5)
    assert torch.equal(rows.logits(logits), logits[READ])


def test_a_word_that_one_network_does_not_read_is_no_row() -> None:
    given = replace(batch(), teacher_inputs={"teacher": words(3, most=5)})
    theirs = given.teacher_inputs["teacher"]
    assert isinstance(theirs, Words)
    rows = TASK.rows(given, Outputs())
    assert 0 < rows.count == int((READ & (theirs.first != LOST)).sum()) < sum(COUNTS)
    assert int(TASK.count(given)) == rows.count


def test_words_without_a_tag_are_rows_without_a_target() -> None:
    given = replace(batch(), targets=torch.empty(6, 0, dtype=torch.int64))
    rows = TASK.rows(given, Outputs())
    assert rows.targets is not None
    assert rows.targets.tolist() == [UNLABELED] * sum(COUNTS)


def test_in_a_loop_of_ones_own_100_is_no_row() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    inputs = {"input_ids": torch.ones(2, 4, dtype=torch.int64), "attention_mask": mask}
    tags = torch.tensor([[UNLABELED, 1, 0, UNLABELED], [UNLABELED] * 4])
    rows = TASK.rows(Batch(inputs, tags), Outputs())
    assert rows.targets is not None
    assert rows.targets.tolist() == [1, 0, *[UNLABELED] * 4]  # the second sentence has no tags at all
    assert TASK.rows(Batch(inputs), Outputs()).count == 7
    assert TASK.rows(Batch(inputs["input_ids"]), Outputs()).count == 8
    with pytest.raises(LimbeckError, match="are of 3 words a sentence, and the networks read 4"):
        TASK.rows(Batch(inputs, tags[:, :3]), Outputs())


def test_one_tag_for_every_word_is_chance() -> None:
    tags = torch.tensor([[0, 1, 2, 0, 3], [0, 3, 4, 0, -100]] * 20)
    # B-LOC for all: each word is an entity, 180 of them, of which 20 are right, of 60 that there are
    assert TASK.at_chance({"f1": 2 * 20 / (180 + 60)}, tags)
    assert TASK.at_chance({"f1": 0.0}, tags)
    assert not TASK.at_chance({"f1": 0.5}, tags)
    assert not TASK.at_chance({"f1": 0.0}, torch.zeros(4, 3, dtype=torch.int64))  # there is nothing to find


OBJECTIVE = "0.3*ce + 0.7*kd(temperature=2)"


def distiller(objective: str = OBJECTIVE, **settings: Any) -> Distiller:
    student, teacher = Tagger(4).double(), Tagger(6, seed=1).double()
    torch.manual_seed(7)  # of the parts that methods make
    return Distiller(
        student,
        teacher,
        objective,
        example=words(2),
        teacher_example=words(3),
        task=TASK,
        **settings,
    )


def both(**settings: Any) -> Batch:
    """A batch that the teacher reads in tokens of its own."""
    return replace(batch(**settings), teacher_inputs={"teacher": words(3)})


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [torch.zeros(()) if each is None else each for each in found]


def by_hand(made: Distiller) -> tuple[Tensor, Tensor, Tensor]:
    """The logits of both networks and the tags, word by word."""
    student, teacher = made.student, made.teacher
    assert teacher is not None
    assert teacher.network is not None
    found = []
    for network, given in ((student, words(2)), (teacher.network, words(3))):
        logits = network(**given)
        found.append(
            torch.stack([logits[row, given.first[row, word]] for row, word in READ.nonzero().tolist()])
        )
    return found[0], found[1], targets()[READ]


def test_ce_and_kd_are_means_over_the_words() -> None:
    made = distiller()
    losses = made(both())
    ours, theirs, tags = by_hand(made)
    known = tags != UNLABELED
    ce = F.cross_entropy(ours[known], tags[known], reduction="sum") / len(tags)
    kd = 4 * F.kl_div((ours / 2).log_softmax(1), (theirs / 2).softmax(1), reduction="sum") / len(tags)
    torch.testing.assert_close(losses["ce"], ce)
    torch.testing.assert_close(losses["kd"], kd)


@pytest.mark.parametrize(
    "objective", ["dkd", "label_smoothing + kd", "dist", "ce + icd", "ce + kd", "rkd", "pkt", "cc", "sp"]
)
def test_padding_changes_no_loss_and_no_gradient(objective: str) -> None:
    made = distiller(objective)
    one = made(both())
    expected = gradients(one.total, made.student)
    for changed in (
        both(tokens=20),
        both(width=9),
        replace(both(), teacher_inputs={"teacher": words(3, tokens=17)}),
    ):
        if changed.targets is not None and changed.targets.shape[1] == 9:
            changed = replace(changed, teacher_inputs={"teacher": words(3, width=9)})
        other = made(changed)
        torch.testing.assert_close(other.total, one.total)
        for left, right in zip(gradients(other.total, made.student), expected, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", [OBJECTIVE, "0.5*dkd + 0.5*label_smoothing"])
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_no_split_of_a_batch_changes_a_gradient(objective: str, parts: int) -> None:
    made, whole = distiller(objective), both()
    expected = gradients(made(whole).total, made.student)
    summed: list[Tensor] | None = None
    for piece in whole.split(parts):
        share = int(TASK.count(piece)) / int(TASK.count(whole))
        found = gradients(made(piece).total * share, made.student)
        summed = found if summed is None else [a + b for a, b in zip(summed, found, strict=True)]
    assert summed is not None
    for left, right in zip(summed, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


def test_left_padding_changes_no_loss() -> None:
    given = words(2, left=True)
    mixed = Tagger(4).double()
    right, left = (Distiller(mixed, None, "ce", example=each, task=TASK) for each in (words(2), given))
    tags = targets()
    # the neighbor of the first token is padding on either side, which is zero
    torch.testing.assert_close(right(words(2), tags).total, left(given, tags).total)


def test_methods_on_embeddings_see_those_of_words() -> None:
    seen: list[Outputs] = []
    made = distiller("ce + icd")
    made.objective.methods[1].register_forward_pre_hook(lambda module, given: seen.extend(given[:2]))
    made(both())
    assert [each.embedding.shape for each in seen] == [(sum(COUNTS), 4), (sum(COUNTS), 6)]


def test_what_needs_one_row_for_each_sample_is_refused_by_name() -> None:
    with pytest.raises(LimbeckError, match="simkd is for tasks with one decision for each sample"):
        distiller("ce + simkd")


def test_a_network_that_answers_a_whole_sentence_is_refused() -> None:
    from limbeck.models import TextCNN

    network = TextCNN(dim=4, channels=2, vocab_size=20, num_classes=5)
    with pytest.raises(
        LimbeckError, match=r"have the shape \(6, 5\) for sentences of 14 tokens, and labeling"
    ):
        Distiller(network, None, "ce", example=words(2), task=TASK)
