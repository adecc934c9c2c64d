"""Runs with Hugging Face networks as model, teacher and student, each reading its own tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command

import limbeck
from interrupting import interrupted_after
from limbeck.config import StudentConfig
from limbeck.errors import LimbeckError
from limbeck.models import huggingface
from limbeck.runs import Run, network_notes, networks
from pretrained_folders import bert, texts, write_texts

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
FAST: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 16,
    "lr": 1e-2,
    "settings": {"training.trackers": [], "training.optimizer": {"name": "adamw"}},
    "display": False,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("pretrained") / "encoder", most=8)


@pytest.fixture(scope="module")
def teacher(corpus: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that fine-tuned the encoder."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    return limbeck.train(
        model=f"hf:{encoder}", data="text", data_dir=corpus, out=out, **{**FAST, "epochs": 12}
    )


@pytest.fixture(scope="module")
def saved(teacher: Run, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher as a user's folder, with its labels in another order."""
    folder = tmp_path_factory.mktemp("saved") / "classifier"
    network: Any = limbeck.load(teacher)
    order = [2, 0, 1]
    names = [teacher.data().task.names[each] for each in order]
    network.classifier.weight.data = network.classifier.weight.data[order]
    network.classifier.bias.data = network.classifier.bias.data[order]
    network.config.id2label, network.config.label2id = (
        dict(enumerate(names)),
        {n: i for i, n in enumerate(names)},
    )
    network.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


def test_an_encoder_is_fine_tuned(teacher: Run) -> None:
    assert teacher.result.metrics.on("test")["top1"] > 0.6  # a third by chance
    note = "of the texts are longer than the 8 tokens that the student reads, and are cut"
    assert any(note in each for each in teacher.result.notes)


def test_a_run_is_had_back_with_its_tokenizer(teacher: Run) -> None:
    network = limbeck.load(teacher)
    tokenizer = transformers.AutoTokenizer.from_pretrained(teacher.path / "tokenizer")
    inputs = tokenizer([text for text, _ in texts(3)], padding=True, truncation=True, return_tensors="pt")
    assert network(**inputs).logits.shape == (3, 3)
    assert not (teacher.path / "tokenizer.json").exists()  # the data's own was not read
    assert limbeck.evaluate(teacher).student.metrics == teacher.result.metrics.test


def test_a_weights_file_alone_tells_how_to_build_its_network(teacher: Run, tmp_path: Path) -> None:
    file = tmp_path / "student.safetensors"
    file.write_bytes((teacher.path / "student.safetensors").read_bytes())
    first, second = limbeck.load(file).state_dict(), limbeck.load(teacher).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in second)


@pytest.mark.parametrize(
    ("student", "objective"),
    [
        ("hf:{encoder}(layers=2)", "0.1*ce + 0.9*kd(temperature=4)"),
        ("textcnn(dim=8, channels=4)", "ce + icd(dim=8)"),
        ("hf:{encoder}(layers=[0], max_length=5)", "mgd(ce + kd, low=4, high=8, epochs=1)"),
    ],
)
def test_a_student_reads_its_own_tokens_and_the_teacher_the_teachers(
    student: str, objective: str, teacher: Run, encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    run = limbeck.distill(
        student=student.replace("{encoder}", str(encoder)),
        teacher=teacher,
        objective=objective,
        data="text",
        data_dir=corpus,
        out=tmp_path / "run",
        **FAST,
    )
    assert run.result.metrics.on("test")["top1"] > 0.45  # a third by chance
    assert limbeck.evaluate(run).student.metrics == run.result.metrics.test


def distilled(teacher: Any, corpus: Path, out: Path, **settings: Any) -> Run:
    return limbeck.distill(
        student="textcnn(dim=8, channels=4)",
        teacher=teacher,
        objective="kd",
        data="text",
        data_dir=corpus,
        out=out,
        **{**FAST, "epochs": 2, **settings},
    )


def test_labels_are_matched_by_name(saved: Path, teacher: Run, corpus: Path, tmp_path: Path) -> None:
    of_folder = distilled(f"hf:{saved}", corpus, tmp_path / "folder")
    of_run = distilled(teacher, corpus, tmp_path / "run")
    assert of_folder.result.teacher is not None
    assert of_folder.result.teacher.metrics == pytest.approx(of_run.result.teacher.metrics)  # type: ignore[union-attr]
    assert any("matched by name" in note for note in of_folder.result.notes)


def test_a_cached_teacher_gives_the_student_of_a_live_one(saved: Path, corpus: Path, tmp_path: Path) -> None:
    sgd: dict[str, Any] = {"lr": 0.02, "settings": {"training.trackers": []}}
    live = distilled(f"hf:{saved}", corpus, tmp_path / "live", **sgd)
    cached = distilled(f"hf:{saved}", corpus, tmp_path / "cached", cache_teacher="logits", **sgd)
    ours, theirs = limbeck.load(cached).state_dict(), limbeck.load(live).state_dict()
    assert all(torch.allclose(ours[key].float(), theirs[key].float(), atol=2e-3) for key in theirs)
    shorter = f"hf:{saved}(max_length=4)"  # other answers: the cache must not serve these
    other = distilled(shorter, corpus, tmp_path / "other", cache_teacher="logits", **sgd)
    assert other.result.teacher_forwards == cached.result.teacher_forwards


def test_a_student_begins_with_a_fresh_head_where_the_labels_are_others(corpus: Path, tmp_path: Path) -> None:
    folder = bert(tmp_path / "other", labels=["happy", "sad"])
    run = limbeck.train(
        model=f"hf:{folder}", data="text", data_dir=corpus, out=tmp_path / "run", **{**FAST, "epochs": 1}
    )
    assert any("'happy', 'sad'" in note and "a fresh one" in note for note in run.result.notes)
    network: Any = limbeck.load(run)
    assert network.classifier.weight.shape == (3, 16)
    assert network.config.id2label == {0: "food", 1: "travel", 2: "weather"}
    assert network.config.problem_type == "single_label_classification"


def test_a_student_whose_labels_are_in_another_order_keeps_its_head(corpus: Path, tmp_path: Path) -> None:
    folder = bert(tmp_path / "turned", labels=["weather", "food", "travel"])
    source = limbeck.data.load("text", corpus)
    config = StudentConfig(model=f"hf:{folder}")
    ours, theirs = networks.student(config, source, seed=0), huggingface.build(f"hf:{folder}")
    tokens = torch.arange(1, 9).view(2, 4)
    with torch.no_grad():
        found, turned = (each.eval()(input_ids=tokens).logits for each in (ours, theirs))
    assert torch.equal(found, turned[:, [1, 2, 0]])
    notes = network_notes.notes(config, ours, source, "student")
    assert any("in another order, 'weather', 'food', 'travel'; it is kept" in note for note in notes)


def test_code_that_a_folder_names_is_not_run_and_it_is_said(corpus: Path, tmp_path: Path) -> None:
    folder = bert(tmp_path / "own", labels=["food", "travel", "weather"])
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoModelForSequenceClassification": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": own}))
    (folder / "modeling_own.py").write_text("raise SystemExit('it ran')\n")
    run = limbeck.train(
        model=f"hf:{folder}", data="text", data_dir=corpus, out=tmp_path / "run", **{**FAST, "epochs": 1}
    )
    assert any("names code of its own (auto_map in its config.json)" in note for note in run.result.notes)


def test_resumed_it_ends_with_the_weights_of_the_undisturbed_run(
    teacher: Run, encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    def run(out: Path, **more: Any) -> Run:
        return limbeck.distill(
            student=f"hf:{encoder}(layers=1)",
            teacher=teacher,
            objective="ce + kd",
            data="text",
            data_dir=corpus,
            out=out,
            **{**FAST, "epochs": 3},
            **more,
        )

    whole = run(tmp_path / "whole")

    with interrupted_after(2):
        run(tmp_path / "part")
    part = limbeck.distill(out=tmp_path / "part", resume=True, display=False)
    ours, theirs = limbeck.load(part).state_dict(), limbeck.load(whole).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_folder_that_has_changed_since_is_refused(encoder: Path, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    given: dict[str, Any] = {"data": "text", "data_dir": corpus, "out": tmp_path / "run", **FAST, "epochs": 1}
    limbeck.train(model=f"hf:{folder}(layers=1)", **given)
    (tmp_path / "run" / "result.json").unlink()
    bert(folder, seed=1, most=8)
    with pytest.raises(LimbeckError, match=r"the weights in .* have changed since the run in"):
        limbeck.train(out=tmp_path / "run", resume=True, display=False)


def refused(command: Command, message: str, *arguments: str) -> None:
    result = command("distill", "--student", "textcnn(dim=8, channels=4)", "--data", "text", *arguments)
    assert result.code == 2
    assert message in result.err
    assert not Path("run").exists()


def test_what_is_wrong_with_a_folder_is_said_before_anything_is_written(
    command: Command, encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    base = ("--data-dir", str(corpus), "--out", "run", "--objective", "kd")
    refused(command, "brings no trained head", "--teacher", f"hf:{encoder}", *base)
    other = bert(tmp_path / "other", labels=["happy", "sad", "angry"])
    lists = (
        f"the teacher 'hf:{other}' has no output for 'food', 'travel', 'weather' of text; its outputs are "
        "'happy', 'sad', 'angry', those of the student 'food', 'travel', 'weather', and those of the data "
        "'food', 'travel', 'weather'; give a teacher for this data"
    )
    refused(command, lists, "--teacher", f"hf:{other}", *base)
    refused(command, "there is no folder './gone'", "--teacher", "hf:./gone", *base)


def test_outputs_that_are_numbers_are_taken_in_the_order_of_the_data(corpus: Path, tmp_path: Path) -> None:
    folder = bert(tmp_path / "numbered", labels=["LABEL_0", "LABEL_1", "LABEL_2"], layers=1)
    run = distilled(
        f"hf:{folder}", corpus, tmp_path / "run", settings={"teacher.trust": True, **FAST["settings"]}
    )
    assert (
        f"the teacher hf:{folder} calls its outputs LABEL_0 to LABEL_2, so they are taken for 'food', "
        "'travel', 'weather' in this order; set id2label in its config.json to have them matched by name"
    ) in run.result.notes


def test_a_folder_and_a_run_that_were_taken_for_each_other(
    command: Command, encoder: Path, teacher: Run, corpus: Path
) -> None:
    base = ("--data-dir", str(corpus), "--out", "run", "--objective", "kd")
    Path("enc").symlink_to(encoder)
    of_folder = "the teacher 'enc' is a folder of transformers; write hf:./enc"
    refused(command, of_folder, "--teacher", "./enc", *base)
    refused(command, of_folder, "--teacher", "enc", *base)
    lies_in = "the teacher 'enc/model.safetensors' lies in a folder of transformers; write hf:./enc"
    refused(command, lies_in, "--teacher", "enc/model.safetensors", *base)
    absolute = f"the teacher '{encoder}' is a folder of transformers; write hf:{encoder}"
    refused(command, absolute, "--teacher", str(encoder), *base)
    of_run = (
        f"'{teacher.path}' is a run of limbeck and no folder of transformers; leave out hf: and write "
        f"{teacher.path}, or hf: and what `limbeck export {teacher.path} --format hf` writes"
    )
    refused(command, of_run, "--teacher", f"hf:{teacher.path}", *base)
    refused(command, of_run, "--teacher", f"hf:{teacher.path}(max_length=5)", *base)


def test_a_run_without_its_tokenizer_is_refused(teacher: Run, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher.path, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "tokenizer")
    with pytest.raises(
        LimbeckError, match=r"the tokenizer of .* is gone: there is no folder tokenizer beside it"
    ):
        distilled(tmp_path / "copy", corpus, tmp_path / "run")
