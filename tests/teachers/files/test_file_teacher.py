"""A teacher that is a file of answers: which samples it answers, and what it says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Source
from limbeck.losses import kd
from limbeck.outputs import NEVER
from limbeck.teachers import Ensemble, FileTeacher, LiveTeacher

TEXTS = ["good day", "bad day", "good night", "bad  night", "so so", "good day"]


def of_texts(
    folder: Path, labels: Sequence[str] = ("pos", "neg", "pos", "neg", "", ""), **given: Any
) -> Source:
    """Texts of two classes; the first and the last are the same. Validation and test have one more each."""
    folder.mkdir(exist_ok=True)
    rows = [
        f"u{number},{text},{label}" for number, (text, label) in enumerate(zip(TEXTS, labels, strict=True))
    ]
    (folder / "train.csv").write_text("\n".join(["uid,text,label", *rows]) + "\n")
    for split in ("validation", "test"):
        (folder / f"{split}.csv").write_text(f"uid,text,label\n{split},{split} is good,pos\n")
    return data.from_text(data_dir=folder, **given)


def of_numbers(size: int = 5) -> Source:
    """A table of three classes."""
    return data.from_tensors(torch.eye(size), torch.arange(size) % 3, validation=None)


def answering(folder: Path, source: Source, *rows: dict[str, Any]) -> FileTeacher:
    path = folder / "answers.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return FileTeacher(path, source)


def whole(source: Source) -> Batch:
    index = source.train.index
    return Batch(torch.zeros(len(index), 2), index=index, view=torch.zeros_like(index))


def test_texts_are_matched_by_themselves(tmp_path: Path) -> None:
    source = of_texts(tmp_path / "data")
    teacher = answering(
        tmp_path,
        source,
        {"text": "good day", "label": "pos"},
        {"text": " bad night", "probabilities": {"neg": 0.75, "pos": 0.25}},
        {"text": "test is good", "label": "neg"},
        {"text": "elsewhere", "label": "neg"},
        {"text": "bad day", "label": ""},
    )
    batch = whole(source)
    outputs = teacher(batch)
    there = torch.tensor([True, False, False, True, False, True])
    assert source.task.names == ("neg", "pos")
    assert torch.equal(teacher.answered(batch), there)  # type: ignore[arg-type]
    certain = [NEVER, 0]
    assert outputs.logits[0].tolist() == outputs.logits[5].tolist() == certain, "one text, one answer"
    assert outputs.logits[3].exp().tolist() == pytest.approx([0.75, 0.25])
    assert outputs.answered is not None
    assert outputs.answered.tolist() == [2, 0, 0, 2, 0, 2]
    its = teacher.coverage
    assert (its.samples, its.answered, its.gaps, its.idle) == (6, 3, 3, 1)
    assert (its.rows, its.elsewhere, its.unknown) == (4, 1, 1)
    assert (its.repeated, its.contradictory) == (0, 0)
    assert its.forms == {"label": 2, "probabilities": 1}
    assert (teacher.gaps, teacher.partial) == (3, True)
    assert its.summary == (
        "answers 3 of 6 training samples, 2 with a label, 1 with probabilities; 3 samples have no answer "
        "and train the other terms alone, but 1 of them has no label either and teaches nothing"
    )
    name = repr(str(tmp_path / "answers.jsonl"))
    assert teacher.notes == (
        f"{name} has 1 answer about samples that are held out for test or validation, which are not used",
        f"{name} has 1 answer about no sample of the data, for example the text 'elsewhere' in row 4 of "
        f"{name}",
        f"{name} has 1 row without an answer",
    )


def test_answers_that_contradict_each_other_are_counted_and_averaged(tmp_path: Path) -> None:
    source = of_texts(tmp_path / "data", id="uid")
    teacher = answering(
        tmp_path,
        source,
        {"id": "u0", "label": "pos"},
        {"id": "u5", "label": "neg"},
        {"id": "u5", "label": "neg"},
        {"id": "u2", "label": "pos"},
        {"id": "u2", "label": "pos"},
        {"id": "validation", "label": "pos"},
    )
    outputs = teacher(whole(source))
    assert outputs.logits[0].exp().tolist() == pytest.approx([2 / 3, 1 / 3]), "u0 and u5 are one text"
    assert torch.equal(outputs.logits[0], outputs.logits[5])
    assert outputs.logits[2].tolist() == [NEVER, 0]
    its = teacher.coverage
    assert (its.repeated, its.contradictory, its.elsewhere) == (2, 1, 1)
    assert its.forms == {"label": 1, "answers": 2}
    name = repr(str(tmp_path / "answers.jsonl"))
    assert teacher.notes[0] == (
        "some samples have answers that contradict each other, 1 of the 2 with several, and learn the mean "
        f"of them; for example 'pos' in row 1 of {name} and 'neg' in row 2 of {name}"
    )


def test_an_id_is_checked_against_the_text_beside_it(tmp_path: Path) -> None:
    source = of_texts(tmp_path / "data", id="uid")
    teacher = answering(tmp_path, source, {"id": "u1", "text": "bad day ", "label": "neg"})
    assert teacher.coverage.answered == 1
    with pytest.raises(
        LimbeckError, match=r"has the text 'bad day', and the id 'u2' is that of 'good night' in"
    ):
        answering(tmp_path, source, {"id": "u2", "text": "bad day", "label": "neg"})


def test_an_id_that_the_data_does_not_know_gives_way_to_the_text(tmp_path: Path) -> None:
    source = of_texts(tmp_path / "data", id="uid")
    teacher = answering(
        tmp_path, source, {"id": "3", "text": "bad day", "label": "neg"}, {"id": "u2", "label": "pos"}
    )
    assert (teacher.coverage.answered, teacher.coverage.unknown) == (2, 0)
    elsewhere = {"id": "validation", "text": "bad day", "label": "neg"}
    teacher = answering(tmp_path, source, elsewhere, {"id": "u2", "label": "pos"})
    assert (teacher.coverage.answered, teacher.coverage.elsewhere) == (1, 1)


def test_an_id_of_the_data_is_shown_beside_one_that_it_does_not_know(tmp_path: Path) -> None:
    source = of_texts(tmp_path / "data", id="uid")
    with pytest.raises(LimbeckError) as error:
        answering(tmp_path, source, {"id": "7", "label": "neg"}, {"id": "8", "label": "pos"})
    assert ", for example the id '7' in row 1 of" in str(error.value)
    assert "; the data's ids are such as 'u0': answers need these, or their texts; " in str(error.value)


def test_ids_that_look_like_numbers_of_rows_are_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = "".join(f"{number},text {number},{'ab'[number % 2]}\n" for number in range(1, 9))
    (folder / "train.csv").write_text(f"nr,text,label\n{rows}")
    for split in ("validation", "test"):
        (folder / f"{split}.csv").write_text(f"nr,text,label\n{split},{split},a\n")
    source = data.load('text(id="nr")', folder)
    for first, wrong in ((0, True), (1, False)):
        answers = [{"id": str(first + number), "label": "a"} for number in range(8)]
        teacher = answering(tmp_path, source, *answers)
        assert (teacher.counted is not None) == wrong
        said = "its ids are the numbers from 0 to 7, and the data has others, such as '8'; if they are the"
        assert not wrong or str(teacher.counted).startswith(said)


def test_without_ids_of_its_own_a_text_wins_over_an_id(tmp_path: Path) -> None:
    """Files of APIs have ids that the data does not know."""
    source = of_texts(tmp_path / "data")
    rows: list[dict[str, Any]] = [
        {"id": "request-7", "text": "bad day", "label": "neg"},
        {"id": 2, "text": None, "label": "pos"},
    ]
    teacher = answering(tmp_path, source, *rows)
    assert teacher.answered(whole(source)).tolist() == [False, True, True, False, False, False]  # type: ignore[union-attr]


def test_other_data_is_known_by_position(tmp_path: Path) -> None:
    source = of_numbers()
    rows = [{"id": number, "logits": [0.0, number, 3.5]} for number in (4, 0, 3, 1, 2)]
    teacher = answering(tmp_path, source, *rows)
    assert teacher.coverage.summary == "answers all training samples, 5 with logits"
    assert (teacher.gaps, teacher.partial, teacher.notes) == (0, False, ())
    outputs = teacher(whole(source))
    assert outputs.logits.tolist() == [[0.0, number, 3.5] for number in range(5)]
    assert set(outputs) == {"logits"}
    assert teacher.answered(whole(source)) is None
    with pytest.raises(
        LimbeckError, match="does not say which sample it is about; give it an id, its position"
    ):
        answering(tmp_path, source, {"id": None, "text": "x", "label": 1})


def test_classes_that_are_not_told_apart(tmp_path: Path) -> None:
    source = of_numbers()
    teacher = answering(tmp_path, source, *({"id": n, "logprobs": {"1": -0.5}} for n in range(5)))
    outputs = teacher(whole(source))
    assert outputs.known is not None
    assert outputs.known.tolist() == [[False, True, False]] * 5
    assert outputs.logits.logsumexp(1).tolist() == pytest.approx([0] * 5, abs=1e-6)
    assert (teacher.gaps, teacher.partial) == (0, True)


def test_the_whole_batch_says_how_many_are_answered(tmp_path: Path) -> None:
    source = of_numbers()
    teacher = answering(tmp_path, source, {"id": 0, "label": 0}, {"id": 3, "label": 1})
    teacher.name = "api"
    part = Batch(torch.zeros(2, 2), index=torch.tensor([0, 1]), view=torch.zeros(2, dtype=torch.int64))
    alone = teacher(part).answered
    assert alone is not None
    assert alone.tolist() == [2, 0]
    share = torch.tensor(0.4, dtype=torch.float64)
    told = teacher(Batch(part.inputs, index=part.index, view=part.view, answered={"api": share})).answered
    assert told is not None
    assert told.tolist() == [2.5, 0]
    none = teacher(Batch(torch.zeros(1, 2), index=torch.tensor([1]), view=torch.tensor([0]))).answered
    assert none is not None
    assert none.tolist() == [0]


def test_it_teaches_a_loop_of_ones_own(tmp_path: Path) -> None:
    source = of_numbers()
    teacher = answering(tmp_path, source, {"id": 0, "label": 2}, {"id": 3, "answers": [0, 1]})
    student = nn.Linear(5, 3)
    distiller = Distiller(student, teacher, "ce + kd(temperature=1)", example=source.example(), data=source)
    index = torch.arange(5)
    inputs = torch.eye(5)
    losses = distiller(inputs, source.train.targets, index=index, view=torch.zeros_like(index))
    aims = torch.tensor([[0, 0, 1], [0.5, 0.5, 0]]).log().clamp(min=NEVER)
    assert losses["kd"].item() == pytest.approx(kd(student(inputs[[0, 3]]), aims, 1).item())
    whole_ce = nn.functional.cross_entropy(student(inputs), source.train.targets)
    assert losses["ce"].item() == pytest.approx(whole_ce.item())
    losses.backward()
    for given in ({}, {"index": index}):
        with pytest.raises(
            LimbeckError, match="this batch does not say which it holds; give its index and its"
        ):
            distiller(inputs, source.train.targets, **given)
    distiller.eval()
    with pytest.raises(LimbeckError, match="leave the distiller in training mode"):
        distiller(inputs, source.train.targets, index=index, view=torch.zeros_like(index))


@pytest.mark.parametrize(
    ("objective", "rows", "message"),
    [
        (
            "ce + icd",
            "logits",
            "icd reads the embedding of its teacher, and the teacher is a file of answers",
        ),
        ("ce + bss", "logits", "bss asks its teacher about inputs that it makes, and the teacher is a file"),
        (
            "mixup(0.1*ce + 0.9*kd)",
            "logits",
            "mixup shows the teacher other samples than those of the data, and the teacher is a file of "
            "answers about the training samples; leave mixup out",
        ),
        ("ce + dkd", "label", "dkd needs a logit for every class, and some answers of the teacher lack that"),
        ("ce + dist", "gap", "dist cannot leave out samples, and the teacher has no answer for 1 of the"),
        ("logit_standardization(kd)", "gap", "logit_standardization cannot leave out samples"),
    ],
)
def test_methods_that_need_more_are_refused(objective: str, rows: str, message: str, tmp_path: Path) -> None:
    source = of_numbers()
    forms: dict[str, list[dict[str, Any]]] = {
        "logits": [{"id": n, "logits": [1, 2, 0]} for n in range(5)],
        "label": [{"id": n, "label": 0} for n in range(5)],
        "gap": [{"id": n, "logits": [1, 2, 0]} for n in range(4)],
    }
    teacher = answering(tmp_path, source, *forms[rows])
    with pytest.raises(LimbeckError, match=message):
        Distiller(nn.Linear(5, 3), teacher, objective, example=source.example(), data=source)


def test_answers_with_all_logits_teach_like_a_network(tmp_path: Path) -> None:
    source = of_numbers()
    given = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    teacher = answering(tmp_path, source, *({"id": n, "logits": row} for n, row in enumerate(given.tolist())))

    class Table(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs @ given

    student = nn.Linear(5, 3)
    index = torch.arange(5)
    for objective in ("kd", "dist", "0.5*ce + dkd(warmup=0)", "logit_standardization(kd)"):
        values = [
            Distiller(student, each, objective, example=torch.eye(5), data=source)(
                torch.eye(5), source.train.targets, index=index, view=torch.zeros_like(index)
            ).total.item()
            for each in (teacher, Table())
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_files_that_cannot_teach(tmp_path: Path) -> None:
    source = of_numbers()
    with pytest.raises(LimbeckError, match=r"^no row of '.*' has an answer; fill in its labels$"):
        answering(tmp_path, source, {"id": 0, "label": None})
    with pytest.raises(
        LimbeckError,
        match=r"^the only answer in '.*' is about no training sample of tensors; an id is the position of ",
    ):
        answering(tmp_path, source, {"id": 5, "label": 0})
    with pytest.raises(
        LimbeckError, match=r"are probabilities, all of them from 0 to 1 with the sum 1; call them"
    ):
        answering(tmp_path, source, {"id": 0, "logits": [0.5, 0.25, 0.25]})
    values = data.from_tensors(torch.eye(4), torch.rand(4, 1), task="regression", validation=None)
    with pytest.raises(
        LimbeckError, match="which teaches to choose one class for each sample, and tensors is for"
    ):
        answering(tmp_path, values, {"id": 0, "label": 0})
    (tmp_path / "plain.csv").write_text("text\none\ntwo\nthree\n")
    bare = data.from_text("plain.csv", data_dir=tmp_path)
    with pytest.raises(LimbeckError, match=r'has no labels, .* has answers about, names=\["neg", "pos"\]$'):
        answering(tmp_path, bare, {"text": "one", "label": "pos"}, {"text": "two", "label": "neg"})


def test_it_is_no_member_of_an_ensemble(tmp_path: Path) -> None:
    teacher = answering(tmp_path, of_numbers(), {"id": 0, "label": 0})
    with pytest.raises(LimbeckError, match=r"^the members of an ensemble answer any input, and a file"):
        Ensemble([teacher, LiveTeacher(nn.Linear(2, 3))])


def test_the_digest_is_of_what_is_answered(tmp_path: Path) -> None:
    source = of_numbers()
    rows = [{"id": n, "label": n % 3} for n in range(5)]
    first = answering(tmp_path, source, *rows).digest
    assert answering(tmp_path, source, *({**row, "note": "other"} for row in rows)).digest == first
    assert answering(tmp_path, source, *rows[:4]).digest != first
    assert answering(tmp_path, source, *rows[:4], {"id": 4, "label": 2}).digest != first


def test_answers_keep_their_precision(tmp_path: Path) -> None:
    source = of_numbers()
    teacher = answering(tmp_path, source, {"id": 0, "label": 0})
    teacher.apply(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)
    assert teacher(whole(source)).logits.dtype == torch.float32


def test_ids_are_no_use_where_the_data_names_no_column_of_them(tmp_path: Path) -> None:
    source = of_texts(tmp_path / "data")
    hint = (
        r"; 'u0' is an id, and the data names no column of ids: name it, as in text\(id=\"COLUMN\"\), or give"
    )
    with pytest.raises(LimbeckError, match=rf"^none of the 2 answers in .* sample of text[^;]*{hint}"):
        answering(tmp_path, source, {"id": "u0", "label": "pos"}, {"id": "u1", "label": "neg"})
    teacher = answering(tmp_path, source, {"id": "u0", "label": "pos"}, {"id": "1", "label": "neg"})
    assert re.search(rf"has 1 answer about no sample of the data, .*{hint}", teacher.notes[0])
    named = of_texts(tmp_path / "named", id="uid")
    with pytest.raises(LimbeckError, match=r"^the only answer in '.*' is about no .*such as 'u0': answers"):
        answering(tmp_path, named, {"id": "elsewhere", "label": "pos"})


@pytest.mark.parametrize(
    ("answered", "summary"),
    [
        (4, "2 samples have no answer and train the other terms alone"),
        (5, "1 sample has no answer and trains the other terms alone"),
    ],
)
def test_what_has_no_answer_is_counted_in_whole_sentences(
    answered: int, summary: str, tmp_path: Path
) -> None:
    source = data.from_tensors(torch.eye(8), torch.arange(8) % 2, names=("neg", "pos"), num_classes=2)
    assert len(source.train) == 6
    ids = source.train.index.tolist()[:answered]
    teacher = answering(tmp_path, source, *({"id": each, "label": "pos"} for each in ids))
    assert teacher.coverage.summary == (
        f"answers {answered} of 6 training samples, {answered} with a label; {summary}"
    )


def test_a_sum_that_is_rounded_is_said_with_its_row(tmp_path: Path) -> None:
    rows = [{"id": 0, "probabilities": {"a": 0.33, "b": 0.33, "c": 0.33}}, {"id": 1, "label": "a"}]
    source = data.from_tensors(torch.eye(3), torch.arange(3), names=("a", "b", "c"), num_classes=3)
    teacher = answering(tmp_path, source, *rows)
    name = repr(str(tmp_path / "answers.jsonl"))
    assert teacher.notes == (
        "the probabilities of 1 answer do not sum to 1 and were divided by their sum, which is 0.99 in row 1 "
        f"of {name}",
    )
