from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Loader
from limbeck.tasks import Task
from limbeck.teachers import CachedTeacher, Ensemble, LiveTeacher, Teacher

TABLES = {
    "a": [[0.0, math.log(3)], [2.0, 0.0]],
    "b": [[math.log(3), 0.0], [4.0, 1.0]],
}


class Says(nn.Module):
    """Answers with the same logits, whatever it is asked."""

    def __init__(self, logits: list[list[float]], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.table: Tensor
        self.register_buffer("table", torch.tensor(logits, dtype=dtype))
        self.head = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.table[: len(inputs)])  # type: ignore[no-any-return]


def answer(dtype: torch.dtype = torch.float32, **arguments: Any) -> Tensor:
    made = Ensemble([LiveTeacher(Says(table, dtype)) for table in TABLES.values()], **arguments)
    made.open(torch.zeros(2, 3), ("logits",))
    return made(Batch(torch.zeros(2, 3))).logits


def test_the_mean_of_logits() -> None:
    half = math.log(3) / 2
    torch.testing.assert_close(answer(of="logits"), torch.tensor([[half, half], [3.0, 0.5]]))
    weighted = answer(of="logits", weights=[3, 1])
    torch.testing.assert_close(weighted, torch.tensor([[half / 2, 3 * half / 2], [2.5, 0.25]]))


def test_the_mean_of_probabilities_is_given_as_its_logarithm() -> None:
    # The members say (1/4, 3/4) and (3/4, 1/4) of the first sample.
    found = answer()
    torch.testing.assert_close(found[0], torch.tensor([0.5, 0.5]).log())
    one, other = (1 / (1 + math.exp(-difference)) for difference in (2.0, 3.0))
    assert found[1].exp().tolist() == pytest.approx([(one + other) / 2, 1 - (one + other) / 2])
    assert answer(weights=[6, 2])[0].exp().tolist() == pytest.approx([3 / 8, 5 / 8])
    assert torch.equal(answer(weights=[6, 2]), answer(weights=[0.75, 0.25])), "shares of their sum"


@pytest.mark.parametrize("of", ["logits", "probabilities"])
def test_what_is_precise_stays_so_and_what_is_not_is_averaged_in_float32(of: str) -> None:
    assert answer(torch.float64, of=of).dtype == torch.float64
    low = answer(torch.bfloat16, of=of)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, answer(of=of), rtol=0.01, atol=0.01)


def test_large_logits_do_not_overflow() -> None:
    made = Ensemble([LiveTeacher(Says([[1e4, 0.0]])), LiveTeacher(Says([[0.0, 1e4]]))])
    made.open(torch.zeros(1, 3), ("logits",))
    assert made(Batch(torch.zeros(1, 3))).logits.exp().tolist() == [[pytest.approx(0.5), pytest.approx(0.5)]]


def test_of_one_teacher_the_probabilities_stay() -> None:
    made = Ensemble([LiveTeacher(Says(TABLES["b"]))])
    made.open(torch.zeros(2, 3), ("logits",))
    found = made(Batch(torch.zeros(2, 3))).logits
    torch.testing.assert_close(found.softmax(1), torch.tensor(TABLES["b"]).softmax(1))


def test_only_logits_can_be_asked() -> None:
    made = Ensemble([LiveTeacher(Says(TABLES["a"]))])
    with pytest.raises(LimbeckError, match=r"an ensemble has no embedding: .* only logits can be averaged"):
        made.open(torch.zeros(2, 3), ("logits", "embedding"))


def test_members_of_different_width_are_refused() -> None:
    made = Ensemble([LiveTeacher(Says([[1.0, 2.0]])), LiveTeacher(Says([[1.0, 2.0, 3.0]]))])
    made.open(torch.zeros(1, 3), ("logits",))
    with pytest.raises(LimbeckError, match=r"in different shapes, \(2,\), \(3,\); they should have the same"):
        made(Batch(torch.zeros(1, 3)))


class Values(Task):
    name = "values"
    scores = "values"


class Several(Task):
    name = "several"
    one_row_per_sample = False


@pytest.mark.parametrize("task", [Values, Several])
def test_a_task_without_a_class_for_each_sample_has_the_mean_of_its_outputs(task: type[Task]) -> None:
    with pytest.raises(LimbeckError, match=rf'the outputs for {task.name} are no .* of="logits"'):
        Ensemble([LiveTeacher(Says(TABLES["a"]))], task=task)
    assert torch.equal(answer(of="logits", task=task), answer(of="logits"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1.0]}, "an ensemble of 2 teachers needs as many positive weights"),
        ({"weights": [1.0, -1.0]}, "as many positive weights"),
        ({"weights": [1.0, math.nan]}, "as many positive weights"),
        ({"weights": [0.0, 0.0]}, "as many positive weights"),
        ({"of": "votes"}, "mean of logits or probabilities, not of 'votes'"),
    ],
)
def test_what_makes_no_mean_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        answer(**arguments)


def test_nobody_is_no_ensemble() -> None:
    with pytest.raises(LimbeckError, match="an ensemble needs a teacher or more"):
        Ensemble([])


class Line(nn.Module):
    """A linear network that counts what it is asked."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.head = nn.Linear(36, 3)
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return self.head(images.flatten(1))  # type: ignore[no-any-return]


def test_a_member_may_be_cached_and_another_live(tmp_path: Path) -> None:
    images = torch.randint(
        0, 256, (12, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    source = data.from_tensors(images, torch.arange(12) % 3, validation=None, views="crop(padding=1)")
    kept, live = Line(1), Line(2)
    made = Ensemble([CachedTeacher(kept, source, directory=tmp_path), LiveTeacher(live)], weights=[1, 3])
    assert made.keeps == ("logits",)
    distiller = Distiller(Line(3), made, "kd(temperature=1)", example=source.example())
    assert made.cached == ("logits",)
    batch = next(iter(Loader(source.train, 12, views=source.views)))
    with torch.no_grad():
        shares = [network(batch.inputs).softmax(1) for network in (kept, live)]
        target = 0.25 * shares[0] + 0.75 * shares[1]
        student = distiller.student(batch.inputs).log_softmax(1)
    expected = (target * (target.log() - student)).sum(1).mean()
    kept.asked = live.asked = 0
    for _ in range(2):
        assert distiller(batch).total.item() == pytest.approx(expected.item(), rel=1e-3)
    assert (kept.asked, live.asked) == (12, 24)


class Records(Teacher):
    """Writes down what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def open(self, example: Any, fields: Any) -> None:
        self.done.append(f"open {fields}")

    def __call__(self, batch: Batch) -> Any:
        raise AssertionError("nothing is asked")

    def release(self) -> None:
        self.done.append("release")

    def apply(self, function: Any) -> None:
        self.done.append(f"apply {function(torch.ones(1)).item()}")

    def compiled(self) -> Any:
        self.done.append("compiled")
        return super().compiled()


def test_the_members_are_opened_moved_compiled_and_released() -> None:
    members = Records(), Records()
    made = Ensemble(members)
    made.open(torch.zeros(1), ("logits",))
    made.apply(lambda tensor: tensor * 2)
    with made.compiled():
        pass
    made.release()
    for member in members:
        assert member.done == ["open ('logits',)", "apply 2.0", "compiled", "release"]


def test_members_read_what_the_ensemble_reads() -> None:
    made = Ensemble([LiveTeacher(nn.Sequential(nn.Flatten(), nn.Identity()))], of="logits")
    made.name = "both"
    made.open(torch.zeros(2, 3), ("logits",))
    theirs = torch.tensor([[5.0, 6.0, 7.0]])
    batch = Batch(torch.zeros(1, 3), teacher_inputs={"both": theirs, "teacher": torch.ones(1, 3)})
    assert torch.equal(made(batch).logits, theirs)
