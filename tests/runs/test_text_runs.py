"""Texts and tables through the same doors as images, from files to a student that is had back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import QUICK, content
from tokenizers import Tokenizer
from typer.testing import CliRunner

import limbeck
from limbeck import data
from limbeck.cli.app import app
from limbeck.doors import evaluate
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.exporting import export

TEACHER, STUDENT = "textcnn(dim=16, channels=8)", "transformer(dim=8, depth=2, heads=2)"
FAST: dict[str, Any] = {**QUICK, "batch_size": 32, "lr": 0.01}
FAST["settings"] = {**QUICK["settings"], "training.optimizer.name": "adamw"}

WORDS = {
    "weather": ["rain", "snow", "sun", "storm", "cloud"],
    "food": ["bread", "soup", "rice", "cheese", "plum"],
    "travel": ["train", "boat", "road", "ticket", "hotel"],
}


def sentences(count: int, seed: int) -> list[str]:
    """Rows of a CSV: five words, three of which tell the class."""
    draw = torch.Generator().manual_seed(seed)
    names = list(WORDS)
    rows = []
    for number in range(count):
        kind = names[number % 3]
        other = names[int(torch.randint(3, (), generator=draw))]
        picks = torch.randint(5, (5,), generator=draw).tolist()
        words = [WORDS[kind if place < 3 else other][pick] for place, pick in enumerate(picks)]
        rows.append(f"{' '.join(words)},{kind}")
    return rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 sentences to train on and 60 for test."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (split, count) in enumerate((("train", 120), ("test", 60))):
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *sentences(count, seed)]))
    return folder


@pytest.fixture(scope="module")
def teacher(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a text network that has learned what there is to learn."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    return limbeck.train(model=TEACHER, data="text", data_dir=corpus, out=out, **{**FAST, "epochs": 10})


def test_a_teacher_learns_from_texts(teacher: Run) -> None:
    assert teacher.result.metrics.on("test")["top1"] > 0.85
    assert teacher.result.data.outputs == 3
    assert teacher.result.data.name == "text"


@pytest.mark.parametrize(
    "objective",
    [
        "0.1*ce + 0.9*kd(temperature=4)",
        "ce + icd(dim=8)",
        "mgd(0.2*ce + 0.8*kd, low=4, high=8, epochs=1)",
        'mgd(ce + kd + icd(dim=8), scheme="stable", low=4, high=8, epochs=1)',
        'dml(peers=["textcnn(dim=8, channels=4, vocab_size=400)"])',
        "dml",
    ],
)
def test_a_student_of_another_kind_learns_from_it(
    objective: str, teacher: Run, corpus: Path, tmp_path: Path
) -> None:
    taught = objective.startswith(("0.1", "ce", "mgd"))
    run = limbeck.distill(
        student=STUDENT,
        teacher=teacher if taught else None,
        objective=objective,
        data="text",
        data_dir=corpus,
        out=tmp_path / "run",
        **{**FAST, "epochs": 6},
    )
    assert run.result.metrics.on("test")["top1"] > 0.5  # a third by chance


def test_a_student_is_had_back_with_its_tokenizer(teacher: Run) -> None:
    network = limbeck.load(teacher)
    tokenizer = Tokenizer.from_file(str(teacher.path / "tokenizer.json"))
    inputs = data.encode(tokenizer, ["Snow rain storm!", "soup bread cheese", "ticket road boat hotel"])
    answers = network(**inputs).argmax(1).tolist()
    source = data.load("text", teacher.config.data.dir)
    assert [source.task.names[answer] for answer in answers] == ["weather", "food", "travel"]
    assert evaluate(teacher).student.metrics == teacher.result.metrics.test


def test_a_weights_file_alone_tells_how_to_build_its_network(teacher: Run) -> None:
    first = limbeck.load(teacher.path / "student.safetensors").state_dict()
    second = limbeck.load(teacher).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in second)


def test_a_teacher_that_reads_other_tokens_is_refused(teacher: Run, corpus: Path, tmp_path: Path) -> None:
    before = content(tmp_path)
    with pytest.raises(
        LimbeckError, match=r"the teacher '.*' was trained with another tokenizer\.json than that of"
    ):
        limbeck.distill(
            student=STUDENT,
            teacher=teacher,
            data="text(vocab_size=260)",
            data_dir=corpus,
            out=tmp_path / "run",
            **FAST,
        )
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('text(text="body")', r"unknown column of '.*train\.csv': 'body'; there are: label, text"),
        ('text(label="text", text="label")', r"the class '.*' in row 1 of '.*test\.csv' is none that"),
        ("table", r"the column 'text' of '.*train\.csv' should hold numbers, not '.*' as in row 1"),
    ],
)
def test_data_that_cannot_be_read_leave_nothing_half_written(
    spec: str, message: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        limbeck.train(model=TEACHER, data=spec, data_dir=corpus, out=tmp_path / "run", **FAST)
    assert not (tmp_path / "run").exists()


def test_an_overwritten_run_leaves_no_tokenizer_behind(teacher: Run, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    limbeck.train(model=STUDENT, data="text", data_dir=corpus, out=out, **{**FAST, "epochs": 1})
    assert (out / "tokenizer.json").exists()
    limbeck.train(model="mlp(hidden=[4])", data="iris", out=out, overwrite=True, **{**FAST, "epochs": 1})
    assert not (out / "tokenizer.json").exists()


def test_a_table_from_a_file(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(200, 3, generator=draw) * torch.tensor([1.0, 1000.0, 1e-3])
    labels = (rows[:, 1] > 500).long()
    lines = [f"{a},{b},{c},{label}" for (a, b, c), label in zip(rows.tolist(), labels.tolist(), strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,c,big", *lines]))
    spec = 'table(path="a.csv", label="big")'
    run = limbeck.train(
        model="mlp(hidden=[8])", data=spec, data_dir=tmp_path, out=tmp_path / "run", **{**FAST, "epochs": 20}
    )
    assert run.result.metrics.on("test")["top1"] > 0.85
    network = limbeck.load(run)  # takes the numbers as they are in the file
    assert network(torch.tensor([[0.5, 950.0, 5e-4], [0.5, 50.0, 5e-4]])).argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["breast_cancer", "iris", "wine"])
def test_bundled_tables(name: str, tmp_path: Path) -> None:
    run = limbeck.train(
        model="mlp(hidden=[16])", data=name, out=tmp_path / "run", **{**FAST, "epochs": 20, "batch_size": 16}
    )
    assert run.result.metrics.on("validation")["top1"] > 0.85


def test_the_documented_script_answers_without_torch_and_limbeck(teacher: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    export(shutil.copytree(teacher.path, tmp_path / "runs" / "texts"), "onnx")
    page = Path(__file__).parents[2] / "docs" / "export.md"
    scripts = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    script = next(each for each in scripts if "tokenizers" in each)
    assert len(list(filter(None, script.splitlines()))) <= 12
    checked = (
        script + "import sys\nassert not {'torch', 'limbeck'} & set(sys.modules)\nnp.save('logits', logits)"
    )
    done = subprocess.run(
        [sys.executable, "-c", checked], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout == "['weather', 'food']\n"
    tokenizer = Tokenizer.from_file(str(teacher.path / "tokenizer.json"))
    inputs = data.encode(tokenizer, ["Snow and rain!", "bread with cheese"])
    answers = torch.from_numpy(np.load(tmp_path / "logits.npy"))
    torch.testing.assert_close(answers, limbeck.load(teacher)(**inputs).detach(), rtol=0, atol=1e-5)


def test_the_tokenizer_lies_beside_an_exported_program(teacher: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "texts.onnx"
    found = export(teacher, "onnx", out, quantize="int8", max_drop=5)
    assert (out.parent / "tokenizer.json").read_bytes() == (teacher.path / "tokenizer.json").read_bytes()
    assert "tokenizer.json, which makes its inputs, lies beside it" in found.lines
    assert found.quantization is not None
    assert (found.quantization.mode, found.quantization.calibration) == ("static", 108)
    assert not found.quantization.lies_in(teacher.path)
    (teacher.path / "quantization.json").unlink()
    (out.parent / "tokenizer.json").write_text("of another network")
    before = content(tmp_path)
    with pytest.raises(
        LimbeckError, match=r"tokenizer\.json' exists and is another one than the student's; say "
    ):
        export(teacher, "pt2", out.with_name("texts.pt2"))
    assert content(tmp_path) == before


def test_on_the_command_line(corpus: Path) -> None:
    cli = CliRunner()
    listed = cli.invoke(app, ["data"]).output
    assert all(name in listed for name in ("banking77", "breast_cancer", "iris", "table", "text", "wine"))
    shown = cli.invoke(app, ["inspect", "textcnn", "--data", "text", "--data-dir", str(corpus)]).output
    assert "dropout:input" in shown
    assert "(2, 300)" in shown
    details = cli.invoke(app, ["data", "text"]).output
    assert 'text(path="", text="text", label="label", vocab_size=8000' in details
