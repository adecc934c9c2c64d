"""Reverse KL of whole texts: the gradient against that of all texts enumerated, and a loop over tokens."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from language_pair import END, VOCABULARY, answers, batch, collected, distiller, same_in_chunks, texts
from torch import Tensor

from limbeck import LimbeckError
from limbeck.losses import cross_entropy, kd, minillm_long, minillm_single
from limbeck.methods.minillm import returns_of
from limbeck.objective import parse
from limbeck.outputs import UNLABELED


def drawn_pair(words: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a student and a teacher after every text of so many words, and all texts of that length."""
    torch.manual_seed(3)
    contexts = sum(words**n for n in range(length))
    pair = torch.randn(2, contexts, words, dtype=torch.float64)
    return pair[0], pair[1], torch.tensor([*itertools.product(range(words), repeat=length)])


def contexts_of(written: Tensor, words: int) -> Tensor:
    """(N, n) the place among all contexts of what is before each token."""
    places, code, first = [], torch.zeros(len(written), dtype=torch.int64), 0
    for place in range(written.shape[1]):
        places.append(first + code)
        first, code = first + words**place, code * words + written[:, place]
    return torch.stack(places, 1)


def test_its_gradient_is_that_of_the_divergence_of_texts() -> None:
    words, length = 3, 4
    student, teacher, written = drawn_pair(words, length)
    student.requires_grad_()
    places = contexts_of(written, words)
    ours, theirs = (
        each.log_softmax(-1)[places].gather(-1, written.unsqueeze(-1)).squeeze(-1)
        for each in (student, teacher)
    )
    probability = ours.sum(1).exp()
    divergence = (probability * (ours - theirs).sum(1)).sum()
    (expected,) = torch.autograd.grad(divergence, student, retain_graph=True)

    old = ours.detach()
    worth = returns_of(theirs - old, torch.ones_like(written, dtype=torch.bool), normalize=False)
    rows = student[places].flatten(0, 1)
    single = minillm_single(rows, teacher[places].flatten(0, 1), torch.ones_like(old).flatten(), "none")
    later = minillm_long(rows, written.flatten(), worth.flatten(), old.flatten(), reduction="none")
    loss = (probability.detach() * (single + later).view(-1, length).sum(1)).sum()
    (found,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(found, expected)


def test_returns_are_means_of_what_follows() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0, 9.0], [3.0, 5.0, 70.0, 70.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    assert returns_of(rewards, mask).tolist() == [[5, 6.5, 9, 0], [5, 0, 0, 0]]
    assert returns_of(rewards, mask, normalize=False).tolist() == [[15, 13, 9, 0], [5, 0, 0, 0]]


def test_the_ratio_is_clipped_where_that_makes_less_of_it() -> None:
    logits = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25)]]).expand(4, 3)
    tokens = torch.tensor([0, 0, 1, 1])
    drawn = torch.tensor([0.25, 0.25, 0.5, 0.5]).log()  # ratios of 2, 2, 1/2, 1/2
    returns = torch.tensor([3.0, -3.0, 3.0, -3.0])
    found = minillm_long(logits, tokens, returns, drawn, 0.2, "none")
    torch.testing.assert_close(found, torch.tensor([-3.6, 6.0, -1.5, 2.4]))


def test_the_terms_are_those_of_a_loop() -> None:
    made = distiller("minillm(ce, mixture=0.3, clip=0.1, length=6)").eval()
    rewritten = collected(made)
    teacher = made.teachers["teacher"].network
    assert teacher is not None
    assert rewritten.written is not None
    assert rewritten.written.tolist() == [True] * 3 + [False] * 3
    single, later, rewards = [], [], []
    with torch.no_grad():
        for prompt, own in texts(collected(distiller("minillm(mixture=0.3, length=6)"))):
            read = torch.tensor([prompt + own[:-1]])
            ours, theirs = (
                network(read)[0, len(prompt) - 1 :].log_softmax(-1) for network in (made.student, teacher)
            )
            r = [float(theirs[t, y] - ours[t, y]) for t, y in enumerate(own)]
            rewards += r
            for t, y in enumerate(own):
                mixture = 0.3 * math.exp(theirs[t, y]) + 0.7 * math.exp(ours[t, y])
                w = math.exp(ours[t, y]) / mixture
                single.append(w * float((ours[t].exp() * (ours[t] - theirs[t])).sum()))
                following = r[t + 1 :]
                worth = sum(following) / len(following) if following else 0.0
                later.append(-min(w * worth, min(max(w, 0.9), 1.1) * worth))
        losses = made(batch())
        data = batch()
        assert data.targets is not None
        rows = data.targets != UNLABELED
        labels = cross_entropy(answers(made.student, data)[rows], data.targets[rows])
    assert losses["minillm.single"].item() == pytest.approx(sum(single) / len(single), rel=1e-4)
    assert losses["minillm.long"].item() == pytest.approx(sum(later) / len(later), rel=1e-4)
    assert losses["minillm.ce"].item() == pytest.approx(labels.item(), rel=1e-5)
    assert losses["minillm.reverse_kl"].item() == pytest.approx(-sum(rewards) / len(rewards), rel=1e-4)
    assert losses["minillm.tokens"].item() == pytest.approx(len(rewards) / 3)
    assert {name: term.kind for name, term in losses.terms.items()} == {
        "minillm.single": "distillation",
        "minillm.long": "distillation",
        "minillm.ce": "task",
        "minillm.reverse_kl": "monitor",
        "minillm.tokens": "monitor",
    }


def test_without_a_share_of_the_teacher_the_student_writes() -> None:
    alone = texts(collected(distiller("on_policy(kd(temperature=1), length=8)")))
    assert texts(collected(distiller("minillm(mixture=0, length=8)"))) == alone
    mixed = texts(collected(distiller("minillm(mixture=1, length=8)")))
    assert mixed != alone
    made = distiller("minillm(mixture=0, length=8)").eval()
    notes = collected(made).notes
    assert notes["importance"][notes["own"] > 0].tolist() == pytest.approx([1.0] * int(notes["own"].sum()))


def test_no_text_goes_on_after_its_end() -> None:
    for _, own in texts(collected(distiller("minillm(length=40)"))):
        assert END not in own[:-1]
        assert len(own) == 40 or own[-1] == END
        assert max(own) < VOCABULARY


def test_what_is_written_is_no_label() -> None:
    losses = distiller("ce + minillm(length=6)")(batch())
    assert losses["ce"].item() == 0
    losses.backward()
    beside = distiller("minillm(ce + kd(temperature=1), length=6)").eval()(batch())
    plain = distiller("ce + kd(temperature=1)").eval()(batch())
    assert beside["minillm.ce"].item() == pytest.approx(plain["ce"].item(), rel=1e-5)
    assert beside["minillm.kd"].item() == pytest.approx(plain["kd"].item(), rel=1e-5)


@pytest.mark.parametrize("base", ["", "0.5*ce + 0.5*kd(temperature=1), "])
def test_in_chunks_it_is_the_same(base: str) -> None:
    same_in_chunks(f"minillm({base}length=6)")


def test_a_sample_writes_the_same_in_any_batch() -> None:
    made = distiller("minillm(length=8)")
    first = texts(collected(made))
    assert texts(collected(made, rows=[1, 2])) == first[1:]
    assert texts(collected(made, step=1)) != first
    other = distiller("minillm(length=8)")
    other.load_state_dict(made.state_dict())
    assert texts(collected(other)) == first


def test_the_divergence_falls() -> None:
    made = distiller("minillm(length=12)").eval()
    optimizer = torch.optim.Adam(made.student.parameters(), lr=3e-3)
    teacher, some = made.teachers["teacher"].network, batch()
    assert teacher is not None
    assert some.targets is not None
    with torch.no_grad():
        theirs = answers(teacher, some).flatten(0, 1)

    def distance() -> float:
        with torch.no_grad():
            ours = answers(made.student, some).flatten(0, 1)
            return kd(ours, theirs, 1.0, divergence="reverse").item()

    before = distance()
    for step in range(40):
        optimizer.zero_grad()
        made(replace(batch(step))).backward()
        optimizer.step()
    assert distance() < 0.5 * before


def test_what_relates_tokens_is_no_base() -> None:
    with pytest.raises(
        LimbeckError, match=r"^minillm takes for the data what compares next tokens one by one"
    ):
        parse("minillm(ce + dist)")


def test_shapes_that_do_not_fit_are_refused_by_name() -> None:
    logits, tokens, some = torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64), torch.zeros(3)
    with pytest.raises(LimbeckError, match=r"^minillm_single: teacher_logits has the shape \(3, 1, 5\)"):
        minillm_single(logits, logits.unsqueeze(1), some)
    with pytest.raises(LimbeckError, match=r"^minillm_single compares the same samples, not 3 and 2"):
        minillm_single(logits, logits, some[:2])
    with pytest.raises(LimbeckError, match=r"^minillm_long: student_logits has the shape \(1, 3, 5\)"):
        minillm_long(logits.unsqueeze(0), tokens, some, some)
    with pytest.raises(LimbeckError, match=r"^minillm_long compares the same samples, not 3 and 1"):
        minillm_long(logits, tokens, some[:1], some)
