"""Text by the student in the place of the data: what is written, who learns from it, and when."""

from __future__ import annotations

import pytest
import torch
from language_pair import (
    END,
    TASK,
    VOCABULARY,
    answers,
    batch,
    collected,
    distiller,
    network,
    same_in_chunks,
    texts,
)

from limbeck import Distiller, LimbeckError
from limbeck.losses import kd
from limbeck.methods.parts.rewriting import prompts_of
from limbeck.outputs import UNLABELED, named
from limbeck.tasks import Classification

GREEDY = "on_policy(kd(temperature=1), temperature=0, length=6, beginning=2)"


def test_the_student_writes_after_the_prompts() -> None:
    made = distiller(GREEDY)
    found = texts(collected(made))
    assert [prompt for prompt, _ in found] == [[3, 4, 5], [8, 9], [12, 13]]
    made.eval()
    for prompt, own in found:
        for number, token in enumerate(own):
            read = torch.tensor([[*prompt, *own[:number]]])
            assert made.student(read)[0, -1].argmax().item() == token


def test_dropout_has_no_part_in_it_and_the_mode_stays() -> None:
    made = distiller(GREEDY).train()
    first = texts(collected(made))
    assert first == texts(collected(made, step=1))
    assert made.student.training
    assert made.student.get_submodule("dropout").training


def test_the_loss_is_that_of_what_was_written() -> None:
    made = distiller(GREEDY).eval()
    rewritten = collected(made)
    assert rewritten.targets is not None
    teacher = made.teachers["teacher"].network
    assert teacher is not None
    with torch.no_grad():
        rows = rewritten.targets != UNLABELED
        ours, theirs = (answers(each, rewritten)[rows] for each in (made.student, teacher))
        losses = made(batch())
    assert losses["on_policy.kd"].item() == pytest.approx(kd(ours, theirs, 1.0).item(), rel=1e-5)
    assert losses["on_policy.tokens"].item() == pytest.approx(int(rows.sum()) / 3)
    assert losses.terms["on_policy.tokens"].kind == "monitor"


def test_what_a_student_writes_is_no_label() -> None:
    made = distiller("ce + on_policy(ce + kd(temperature=1), length=6)")
    losses = made(batch())
    assert losses["ce"].item() == losses["on_policy.ce"].item() == 0
    assert losses["on_policy.kd"].item() > 0


def test_it_wraps_nothing_that_has_text_written() -> None:
    for inner, outer in (("seqkd(ce)", "on_policy"), ("kd + 0.5*skd(kd)", "seqkd")):
        name = inner.rpartition("*")[2].partition("(")[0]
        said = f"^{outer} wraps what learns from the text .*, and {name} has another one written"
        with pytest.raises(LimbeckError, match=said):
            distiller(f"{outer}({inner})")


def test_two_that_have_text_written_are_refused_beside_each_other() -> None:
    for other in ("minillm(ce)", "0.5*skd(kd)", "on_policy(ce)"):
        with pytest.raises(LimbeckError, match=r"^on_policy and .* would each have its own text written"):
            distiller(f"on_policy(kd) + {other}")


def test_the_draws_are_those_of_seed_step_and_sample() -> None:
    made = distiller("on_policy(kd(temperature=1), length=8)")
    first = texts(collected(made))
    assert first == texts(collected(made))
    assert first != texts(collected(made, step=1))
    again = distiller("on_policy(kd(temperature=1), length=8)")
    assert first == texts(collected(again))
    again.load_state_dict(made.state_dict())
    assert first == texts(collected(again))
    assert texts(collected(made, rows=[1, 2])) == first[1:]


def test_in_a_share_of_the_steps_the_data_is_learned() -> None:
    made = distiller("on_policy(ce + kd(temperature=1), fraction=0.25, length=4)")
    exchanged = [collected(made, step).written is not None for step in range(400)]
    assert sum(exchanged) / 400 == pytest.approx(0.25, abs=0.06)
    step = exchanged.index(False)
    losses = made(batch(step))
    assert losses["on_policy.ce"].item() > 0
    assert collected(distiller("on_policy(kd, fraction=0)")).written is None


def test_no_gradient_flows_into_the_choice() -> None:
    made = distiller("on_policy(kd(temperature=1), length=6)")
    made(batch()).backward()
    assert all(p.grad is not None for p in made.student.parameters() if p.requires_grad)
    assert not any(each.requires_grad for each in named(collected(made).inputs).values())


def test_in_chunks_it_is_the_same() -> None:
    same_in_chunks("on_policy(0.1*ce + 0.9*kd(temperature=1), length=6)")


def test_a_text_ends_at_its_end() -> None:
    made = distiller("on_policy(kd(temperature=1), length=40)")
    for _, own in texts(collected(made)):
        assert END not in own[:-1]
        assert len(own) <= 40
        assert len(own) == 40 or own[-1] == END


def test_it_is_for_language_models() -> None:
    images = torch.randn(4, 5)
    with pytest.raises(
        LimbeckError, match=r"^on_policy is for the task language, and this is classification; use"
    ):
        Distiller(
            torch.nn.Linear(5, 3),
            torch.nn.Linear(5, 3),
            "on_policy(kd)",
            example=images,
            task=Classification(("a", "b", "c")),
        )


def test_a_teacher_with_a_tokenizer_of_its_own_is_refused() -> None:
    made = distiller("on_policy(kd)")
    with pytest.raises(LimbeckError, match=r"^on_policy has student and teacher read what is written, and"):
        collected(made, teacher_inputs={"teacher": {"input_ids": named(batch().inputs)["input_ids"] + 1}})
    same = {"input_ids": named(batch().inputs)["input_ids"].clone()}
    assert not collected(made, teacher_inputs={"teacher": same}).teacher_inputs


def test_rows_of_several_documents_give_the_first() -> None:
    some = batch()
    ids = torch.tensor([[3, 4, 5, 6, 7, 8]])
    inputs = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 2, 2, 2]])}
    targets = torch.tensor([[4, 5, UNLABELED, 7, 8, 9]])
    prompts = prompts_of(some.__class__(inputs, targets), 16)
    assert prompts.ids[prompts.mask].tolist() == [3], "half of three"
    longer = prompts_of(some.__class__({"input_ids": ids}, ids + 1), 16)
    assert longer.ids[longer.mask].tolist() == [3, 4, 5]


def test_the_vocabulary_bounds_what_is_written() -> None:
    torch.manual_seed(0)
    wide = network(0)
    wide.head = torch.nn.Linear(16, VOCABULARY + 5, bias=False)
    made = Distiller(
        wide, network(1), "on_policy(kd(temperature=1), length=30)", example=batch().inputs, task=TASK
    )
    assert all(max(own) < VOCABULARY for _, own in texts(collected(made)))
