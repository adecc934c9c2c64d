"""Runs whose teacher is a file of answers, from texts to a student."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from small_runs import QUICK, catch_job, content, same, state_of, timeless, without_times
from torch import Tensor, nn

import limbeck
from interrupting import interrupted_after
from limbeck import data
from limbeck.config import make_config
from limbeck.doors import evaluate
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.answer_files import recipe

WORDS = {
    "food": ["bread", "soup", "rice", "cheese", "plum"],
    "travel": ["train", "boat", "road", "ticket", "hotel"],
    "weather": ["rain", "snow", "sun", "storm", "cloud"],
}
STUDENT = "textcnn(dim=16, channels=8)"
FAST: dict[str, Any] = {
    **QUICK,
    "student": STUDENT,
    "batch_size": 16,
    "lr": 0.01,
    "settings": {"training.trackers": [], "training.optimizer.name": "adamw", "training.precision": "fp32"},
}


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts of four words, of which two tell the class, with that class."""
    draw = torch.Generator().manual_seed(seed)
    names = list(WORDS)
    found = []
    for number in range(count):
        kinds = [names[number % 3]] * 2 + [names[int(torch.randint(3, (), generator=draw))]] * 2
        picks = torch.randint(5, (4,), generator=draw).tolist()
        text = " ".join([f"n{number}", *(WORDS[kind][pick] for kind, pick in zip(kinds, picks, strict=True))])
        found.append((text, names[number % 3]))
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 texts, of which every fourth has a label, 60 for test, and answers to all but every tenth."""
    folder = tmp_path_factory.mktemp("corpus")
    training = sentences(120, 0)
    gold = [f"{text},{name if number % 4 == 0 else ''}" for number, (text, name) in enumerate(training)]
    (folder / "train.csv").write_text("\n".join(["text,label", *gold]) + "\n")
    held = [f"{text},{name}" for text, name in sentences(60, 1)]
    for split, rows in (("test", held[:30]), ("validation", held[30:])):
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "plain.csv").write_text("\n".join(["text", *(text for text, _ in training)]) + "\n")
    answers = [{"text": text, "label": name} for number, (text, name) in enumerate(training) if number % 10]
    (folder / "answers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in answers))
    return folder


def distilled(corpus: Path, out: Path, **changes: Any) -> Run:
    given = {**FAST, "data": "text", "data_dir": corpus, "teacher": corpus / "answers.jsonl", "out": out}
    return limbeck.distill(**{**given, **changes})


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return distilled(corpus, tmp_path_factory.mktemp("runs") / "run", epochs=8)


def test_from_answers_to_a_student(run: Run, corpus: Path) -> None:
    result = run.result
    assert result.objective == "0.1*ce + 0.9*kd(temperature=1)", "no temperature softens labels"
    assert result.metrics.on("test")["top1"] > 0.7
    assert result.teacher_forwards == 0
    teacher = result.teachers["teacher"]
    assert (teacher.model, teacher.parameters, teacher.metrics) == (str(corpus / "answers.jsonl"), None, None)
    its = teacher.answers
    assert its is not None
    assert (its.samples, its.answered, its.forms) == (120, 108, {"label": 108})
    assert (its.compared, its.agreement) == (24, 1.0)
    assert any("108 of 120 training samples" in note for note in result.notes)
    student = limbeck.load(run)
    assert not [name for name in dict(student.named_parameters()) if "teacher" in name]


def test_the_page_and_the_card_say_what_the_answers_are_worth(run: Run) -> None:
    evaluate(run)
    page = (run.path / "report.html").read_text()
    told = "answers to 108 of 120 training samples, top-1 100.0\N{NO-BREAK SPACE}% on the 24 with a label"
    assert f"Its teacher is a file of {told}." in page
    assert "The answers of the teacher" in page
    card = (run.path / "README.md").read_text()
    assert "a file of answers about its training samples." in card
    assert f"| teacher | {told} |" in card


def test_an_evaluation_leaves_the_file_out(run: Run) -> None:
    found = evaluate(run)
    assert list(found.networks) == ["student"]
    assert found.notes[0].endswith(
        "answers.jsonl is a file of answers about training samples, and no network."
    )


def test_texts_without_any_label(corpus: Path, tmp_path: Path) -> None:
    plain = {"data": 'text(path="plain.csv")', "epochs": 4}
    with pytest.raises(LimbeckError, match=r'names=\["food", "travel", "weather"\]$'):
        distilled(corpus, tmp_path / "run", **plain)
    named = 'text(path="plain.csv", names=["food", "travel", "weather"])'
    with pytest.raises(LimbeckError, match=r"^ce learns from labels, and no training sample of text"):
        distilled(corpus, tmp_path / "run", **{**plain, "data": named, "objective": "ce + kd"})
    assert not (tmp_path / "run").exists()
    run = distilled(corpus, tmp_path / "run", **{**plain, "data": named})
    assert run.result.objective == "kd(temperature=1)"
    teacher = run.result.teachers["teacher"].answers
    assert teacher is not None
    assert (teacher.answered, teacher.compared, teacher.agreement) == (108, 0, None)
    source = data.from_text("plain.csv", data_dir=corpus)
    names = torch.arange(120) % 3
    with torch.no_grad():
        answers = limbeck.load(run)(**source.train.samples.inputs).argmax(1)  # type: ignore[attr-defined]
    assert (answers == names).double().mean() > 0.6
    agreed = 100 * float((answers == names)[torch.arange(120) % 10 > 0].double().mean())
    assert run.result.notes[-1] == (
        f"the student decides as the answers do for {agreed:.1f} % of 108 training samples, and the "
        "commonest answer is that of 33.3 %; nothing was held out to measure it by, so label some samples "
        "for a test split"
    )
    idle = distilled(corpus, tmp_path / "idle", **{**plain, "data": named, "epochs": 1, "lr": 1e-9})
    said = idle.result.notes[-1]
    assert "it has hardly learned; try more epochs (--epochs, 1 here), another" in said or "to all" in said


class Constant(nn.Module):
    """Answers the same to every text."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 3)
        nn.init.constant_(self.head.weight, 0.0)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.head(input_ids[:, :1].float() / 1e4)
        return logits


def test_a_student_that_answers_one_class_is_said(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = 'text(path="plain.csv", names=["food", "travel", "weather"])'
    student = Constant()
    run = distilled(corpus, tmp_path / "run", data=named, student=student, epochs=1, lr=1e-9, display=True)
    (note,) = [each for each in run.result.notes if "to all 120 training samples" in each]
    assert note.startswith("the student answers 'travel' to all 120")
    assert note in capsys.readouterr().err


def test_a_run_that_is_interrupted_ends_as_if_nothing_had_happened(corpus: Path, tmp_path: Path) -> None:
    whole = distilled(corpus, tmp_path / "whole", epochs=2)
    with interrupted_after(1):
        distilled(corpus, tmp_path / "run", epochs=2)
    assert not Run(tmp_path / "run").finished
    resumed = limbeck.distill(out=tmp_path / "run", resume=True, display=False)
    assert same(state_of(resumed), state_of(whole))
    assert timeless(resumed.history) == timeless(whole.history)
    assert without_times(resumed.result) == without_times(whole.result)


def test_a_run_goes_on_with_its_own_answers_alone(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(corpus, tmp_path / "here"))
    given = {"teacher": "answers.jsonl", "data_dir": tmp_path / "here", "epochs": 2}
    with interrupted_after(1):
        distilled(corpus, tmp_path / "run", **given)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "here" / "answers.jsonl"
    rows = file.read_text()
    file.write_text(rows.replace("food", "travel", 1))
    before = content(tmp_path)
    with pytest.raises(
        LimbeckError, match=r"^the answers in '.*answers\.jsonl' have changed since the run in"
    ):
        limbeck.distill(out=tmp_path / "run", resume=True, display=False)
    assert content(tmp_path) == before
    file.write_text(rows)
    assert limbeck.distill(out=tmp_path / "run", resume=True, display=False).finished, "found from elsewhere"


def test_the_pieces_of_a_batch_do_not_matter(corpus: Path, tmp_path: Path) -> None:
    """A quarter of the answers: many pieces of a batch have none."""
    few = tmp_path / "few.jsonl"
    rows = (corpus / "answers.jsonl").read_text().splitlines()
    few.write_text("\n".join(rows[::4]))
    states, histories = [], []
    for pieces in (1, 8):
        settings = {
            **FAST["settings"],
            "training.accumulation": pieces,
            "training.optimizer": {"name": "sgd"},
        }
        settings.pop("training.optimizer.name")
        made = distilled(corpus, tmp_path / str(pieces), teacher=few, settings=settings, lr=0.1, epochs=1)
        states.append(state_of(made))
        histories.append(made.history)
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-5, msg=key)
    (first,), (second,) = histories
    assert second["terms"]["kd"] == pytest.approx(first["terms"]["kd"], rel=1e-4)


def test_beside_a_network(corpus: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = catch_job(monkeypatch)
    made = distilled(
        corpus,
        tmp_path / "run",
        teacher={"api": corpus / "answers.jsonl", "net": run.path},
        objective='ce + kd(teacher="api", temperature=1) + kd(teacher="net")',
        epochs=1,
    )
    (job,) = jobs
    assert job.asked[0].startswith(
        "the teacher 'api' has a top-1 of 100.0 % on the 24 training samples that have"
    )
    assert job.asked[1].startswith("the teacher 'net' has a top-1 of ")
    teachers = made.result.teachers
    assert [each.answers is None for each in teachers.values()] == [False, True]
    assert made.result.teacher_forwards == 120
    assert list(made.history[0]["terms"]) == ["total", "ce", "kd", "kd_2"]


def doubtful(corpus: Path, folder: Path, change: Callable[[int, dict[str, str]], dict[str, str]]) -> Path:
    """Answers to all texts, changed; the labels of all are known, so that they are judged."""
    folder.mkdir()
    for split in ("train", "test", "validation"):
        shutil.copy(corpus / f"{split}.csv", folder)
    training = sentences(120, 0)
    rows = [f"{text},{name}" for text, name in training]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    answers = [change(number, {"text": text, "label": name}) for number, (text, name) in enumerate(training)]
    (folder / "answers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in answers))
    return folder


OTHER = {"food": "weather", "weather": "travel", "travel": "food"}
DOUBTS: dict[str, tuple[Callable[[int, dict[str, str]], dict[str, str]], str]] = {
    "wrong": (
        lambda number, row: {**row, "label": OTHER[row["label"]]},
        "^the teacher has a top-1 of 0.0 % on the 120 training .*, no better than chance: its answers are",
    ),
    "alike": (lambda number, row: {**row, "label": "food"}, ", no better than chance"),
    "strange": (
        lambda number, row: (
            {**row, "text": f"{'' if number % 3 else 'x'}{row['text']}"}
            if number % 2
            else {**row, "text": "of other data"}
        ),
        "^most answers in '.*' are about no sample of text, 80 of 120, for example the text '.*' in row 1",
    ),
}


@pytest.mark.parametrize("what", DOUBTS)
def test_answers_that_do_not_fit_are_refused(what: str, corpus: Path, tmp_path: Path) -> None:
    change, message = DOUBTS[what]
    folder = doubtful(corpus, tmp_path / "data", change)
    with pytest.raises(LimbeckError, match=message):
        distilled(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    trusted = {**FAST["settings"], "teacher.trust": True}
    assert distilled(folder, tmp_path / "run", settings=trusted, epochs=1).finished


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "nowhere.jsonl"}, r"^there is no file of answers 'nowhere\.jsonl'$"),
        (
            {"student": "answers.jsonl"},
            r"^answers\.jsonl is a file of answers, which is a teacher and no student",
        ),
        (
            {"teacher": 'ensemble("a.jsonl", "b.csv")'},
            r"^a\.jsonl is a file of answers about training samples, and",
        ),
        ({"cache_teacher": "logits"}, r"no network; leave out teacher\.cache \(--cache-teacher\)$"),
        ({"settings": {"teacher.size": 8}}, r"no network; leave out teacher\.size$"),
        ({"settings": {"teacher.outputs": "probabilities"}}, r"no network; leave out teacher\.outputs$"),
        ({"objective": "ce + icd"}, "^icd reads the embedding of its teacher"),
    ],
)
def test_what_a_file_cannot_be(changes: dict[str, Any], message: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        distilled(corpus, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_the_objective_of_a_run_that_names_none(corpus: Path, tmp_path: Path) -> None:
    source = data.from_text(data_dir=corpus)
    assert recipe(source, make_config(settings={"student": STUDENT}), ()) == "ce"
    full = tmp_path / "full.jsonl"
    rows = [
        {"text": text, "logits": [1.0, number % 7, 0.5]} for number, (text, _) in enumerate(sentences(120, 0))
    ]
    full.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    trusted = {**FAST["settings"], "teacher.trust": True}
    made = distilled(corpus, tmp_path / "run", teacher=full, epochs=1, settings=trusted)
    assert made.result.objective == "0.1*ce + 0.9*kd(temperature=4)"


def test_through_the_command_line(corpus: Path, command: Command, tmp_path: Path) -> None:
    template = ("answers", "template", "text", "--data-dir", corpus, "--out", "fill.jsonl")
    written = command(*template)
    assert (written.code, written.err) == (0, "")
    assert written.out == "3 classes: food, travel, weather\n120 training samples of text\nfill.jsonl\n"
    names = dict(sentences(120, 0))
    rows = [json.loads(line) for line in (tmp_path / "fill.jsonl").read_text().splitlines()]
    assert rows[0] == {"id": "0", "text": next(iter(names)), "label": ""}
    assert command(*template).err.startswith("limbeck: 'fill.jsonl' exists and may have answers in it")
    filled = [{**row, "label": names[row["text"]]} for row in rows]
    (tmp_path / "fill.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in filled))
    done = command(
        "distill", "--student", STUDENT, "--teacher", "fill.jsonl", "--data", "text", "--data-dir", corpus,
        "--epochs", "1", "--set", "training.trackers=[]", "--out", "run",
    )  # fmt: skip
    assert done.code == 0
    assert "the teacher 'fill.jsonl' answers all training samples, 120 with a label\n" in done.err
    assert "the teacher has a top-1 of 100.0 % on the 30 training samples that have a label" in done.err
    assert "teacher: answers to 120 of 120 training samples, top-1 100.0" in done.out
