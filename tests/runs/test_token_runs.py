"""Runs of token classification: teachers and students that read tokens of their own and answer the same
words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command

import limbeck
from interrupting import interrupted_after
from limbeck import data, models
from limbeck.config import TeacherConfig
from limbeck.data import Loader
from limbeck.data.storage.texts import Texts
from limbeck.evaluation import results
from limbeck.outputs import named
from limbeck.runs import Run, networks, preparations
from limbeck.runs.exporting import export
from limbeck.runs.filling import fill
from limbeck.runs.network_record import read_card
from limbeck.tasks import TokenClassification
from limbeck.tasks.token_classification.findings import TokenFindings
from limbeck.words import Words
from tagged_files import NAMES, sentences, tagger, write_conll

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
FAST: dict[str, Any] = {
    "data": "tagged",
    "epochs": 10,
    "batch_size": 16,
    "lr": 1e-2,
    "settings": {
        "training.trackers": [],
        "training.optimizer": {"name": "adamw"},
        "training.precision": "fp32",
    },
    "display": False,
}
SMALL = "transformer(dim=16, heads=2, depth=1)"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conll(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tagger(tmp_path_factory.mktemp("pretrained") / "encoder", most=40)


@pytest.fixture(scope="module")
def teacher(corpus: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that fine-tuned the encoder."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    return limbeck.train(model=f"hf:{encoder}", data_dir=corpus, out=out, **{**FAST, "epochs": 12})


def distilled(teacher: Any, corpus: Path, out: Path, student: str = SMALL, **settings: Any) -> Run:
    return limbeck.distill(student=student, teacher=teacher, data_dir=corpus, out=out, **{**FAST, **settings})


@pytest.fixture(scope="module")
def student(teacher: Run, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A student that reads the tokens of the data, of a teacher that reads its own."""
    return distilled(teacher, corpus, tmp_path_factory.mktemp("student") / "run", epochs=12)


def test_a_network_is_fine_tuned_and_measured_by_entities(teacher: Run) -> None:
    metrics = teacher.result.metrics.on("test")
    assert list(metrics) == ["f1", "precision", "recall", "macro_f1", "accuracy"]
    assert metrics["f1"] > 0.6
    assert teacher.result.task == {"name": "token_classification", "names": list(NAMES)}
    assert any("of the words are not among the 40 tokens" in note for note in teacher.result.notes)
    network: Any = limbeck.load(teacher)
    assert type(network).__name__ == "BertForTokenClassification"
    assert network.config.id2label == dict(enumerate(NAMES))


def test_a_student_of_other_tokens_learns_from_it(student: Run, teacher: Run) -> None:
    assert student.result.objective == "0.5*ce + 0.5*kd(temperature=2)"
    assert student.result.metrics.on("test")["f1"] > 0.5
    assert student.result.agreement is not None
    assert student.result.agreement > 0.8
    assert student.result.teacher is not None
    assert student.result.teacher.metrics == teacher.result.metrics.test
    found = results.read(student.path / "evaluation.json")
    assert found is not None
    its = found.networks["teacher"].findings
    assert isinstance(its, TokenFindings)
    assert its.lost > 0  # of the teacher's 40 tokens
    assert limbeck.evaluate(student).student.metrics == student.result.metrics.test


def test_the_figures_are_those_of_the_answers_to_the_words(student: Run) -> None:
    source = student.data()
    assert source.test is not None
    network, meter = limbeck.load(student), source.task.meter()
    for batch in Loader(source.test, 7, shuffle=False):
        assert isinstance(batch.inputs, Words)
        with torch.no_grad():
            logits = batch.inputs.of(network(**batch.inputs), "the logits")
        meter.update(limbeck.Outputs(logits=logits, words=batch.inputs.read), batch)
    assert meter.compute() == pytest.approx(student.result.metrics.on("test"))


def test_page_and_card_speak_of_entities(student: Run) -> None:
    page = (student.path / "report.html").read_text(encoding="utf-8")
    for text in (
        "An entity is a run of words that begins with B",
        "What becomes of the entities",
        "PER in words 1 to 2",
    ):
        assert text in page
    card = (student.path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: token-classification" in card
    assert "limbeck.data.encode_words(tokenizers.Tokenizer.from_file" in card
    assert "It is weakest on `" in card


def test_labels_are_matched_by_name(teacher: Run, encoder: Path, corpus: Path, tmp_path: Path) -> None:
    order = [6, 0, 3, 1, 4, 2, 5]
    network: Any = limbeck.load(teacher)
    network.classifier.weight.data = network.classifier.weight.data[order]
    network.classifier.bias.data = network.classifier.bias.data[order]
    names = [NAMES[place] for place in order]
    network.config.id2label, network.config.label2id = (
        dict(enumerate(names)),
        {n: i for i, n in enumerate(names)},
    )
    network.save_pretrained(tmp_path / "tagger")
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "tagger")
    of_folder = distilled(f"hf:{tmp_path / 'tagger'}", corpus, tmp_path / "folder", epochs=1)
    of_run = distilled(teacher, corpus, tmp_path / "run", epochs=1)
    assert any("matched by name" in note for note in of_folder.result.notes)
    assert of_folder.result.teacher is not None
    assert of_run.result.teacher is not None
    assert of_folder.result.teacher.metrics == pytest.approx(of_run.result.teacher.metrics)


@pytest.mark.parametrize("fields", ["logits", "both"])
def test_a_cached_teacher_gives_the_student_of_a_live_one(
    fields: str, teacher: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    objective = "kd" if fields == "logits" else "kd + 0.1*icd"
    settings: dict[str, Any] = {
        "objective": objective,
        "epochs": 3,
        "lr": 0.05,
        "settings": {"training.trackers": [], "training.precision": "fp32"},
    }
    live = distilled(teacher, corpus, tmp_path / "live", **settings)
    cached = distilled(teacher, corpus, tmp_path / "cached", cache_teacher=fields, **settings)
    ours, theirs = limbeck.load(cached).state_dict(), limbeck.load(live).state_dict()
    assert all(torch.allclose(ours[key].float(), theirs[key].float(), atol=2e-3) for key in theirs)
    again = distilled(teacher, corpus, tmp_path / "again", cache_teacher=fields, **settings)
    asked = [run.result.teacher_forwards or 0 for run in (live, cached, again)]
    assert asked[0] > asked[1] > asked[2]  # 80 sentences an epoch, once, and a probe


def test_a_folder_for_transformers_answers_as_the_student(teacher: Run, corpus: Path, tmp_path: Path) -> None:
    run = distilled(teacher, corpus, tmp_path / "run", f"hf:{networks_place(teacher)}(layers=1)", epochs=4)
    made = export(run, "hf")
    assert any("a folder for BertForTokenClassification.from_pretrained" in line for line in made.lines)
    network = transformers.AutoModelForTokenClassification.from_pretrained(made.file).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(made.file)
    words = [words for words, _ in sentences(4, seed=9)]
    inputs = tokenizer(words, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
    ours = limbeck.load(run)
    assert (network(**inputs).logits - ours(**inputs).logits).abs().max() < 1e-5
    tag = transformers.pipeline("token-classification", model=str(made.file))
    one = tokenizer(" ".join(words[0]), return_tensors="pt", return_special_tokens_mask=True)
    special = one.pop("special_tokens_mask")[0].bool()
    said = [NAMES[answer] for answer in ours(**one).logits[0].argmax(1).tolist()]
    expected = {place: name for place, name in enumerate(said) if name != "O" and not special[place]}
    assert {each["index"]: each["entity"] for each in tag(" ".join(words[0]))} == expected
    assert expected

    program = export(run, "onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(program.file)
    for length in (5, 9):  # the axis of the tokens is free
        some = {
            name: tensor[:2, :length]
            for name, tensor in inputs.items()
            if name in ("input_ids", "attention_mask")
        }
        (answer,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in some.items()})
        assert answer.shape == (2, length, 7)
        torch.testing.assert_close(torch.from_numpy(answer), ours(**some).logits, rtol=1e-4, atol=1e-5)
    kept = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    assert kept["output"]["shape"] == ["batch", "length", 7]
    assert kept["values"].endswith("the answer to a word is that to its first token")


def networks_place(run: Run) -> str:
    """The folder that a run's network was made from."""
    return str(run.config.student.model).removeprefix("hf:")


def test_a_program_of_a_student_with_the_datas_tokens(student: Run) -> None:
    made = export(student, "onnx", overwrite=True)
    assert "all decisions are the same" in made.lines[-2]
    source = student.data()
    samples = source.train.samples
    assert isinstance(samples, Texts)
    length = named(source.example(1))["input_ids"].shape[1]
    card = read_card(student.path / "student.safetensors")
    assert card is not None
    from limbeck.runs.exports.metadata import preprocessing

    assert preprocessing(card)["output"]["shape"] == ["batch", length, 7]
    assert card.facts["per_token"] is True


def test_a_student_begins_with_a_fresh_head_where_it_was_for_whole_texts(
    corpus: Path, tmp_path: Path
) -> None:
    folder = tagger(tmp_path / "base")
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=7)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    run = limbeck.train(model=f"hf:{folder}", data_dir=corpus, out=tmp_path / "run", **{**FAST, "epochs": 1})
    assert any(
        "has one answer for a sample, and tagged needs one for each token, so it begins with a fresh one"
        in note
        for note in run.result.notes
    )


def test_sentences_without_tags_are_learned_from_the_teacher(
    teacher: Run, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "train.conll").write_text("\n\n".join("\n".join(words) for words, _ in sentences(40)))
    (folder / "test.conll").write_text((corpus / "test.conll").read_text())
    names = json.dumps(NAMES)
    run = limbeck.distill(
        student=SMALL,
        teacher=teacher,
        objective="kd",
        data_dir=folder,
        out=tmp_path / "run",
        **{**FAST, "data": f"tagged(names={names})", "epochs": 25},
    )
    assert run.result.data.labeled == 0
    assert run.result.metrics.on("test")["f1"] > 0.5


def refused(command: Command, message: str, *arguments: str) -> None:
    result = command("distill", "--data", "tagged", "--out", "run", *arguments)
    assert result.code == 2
    assert message in result.err
    assert not Path("run").exists()


def test_what_does_not_fit_is_refused_before_anything_is_written(
    command: Command, teacher: Run, encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    base = ("--data-dir", str(corpus), "--student", SMALL)
    refused(command, "brings no trained head", "--teacher", f"hf:{encoder}", *base)
    other = tagger(tmp_path / "other", labels=["O", "B-DATE", "I-DATE"])
    refused(command, "has no output for 'B-LOC', 'B-ORG', 'B-PER'", "--teacher", f"hf:{other}", *base)
    words = ("--data-dir", str(corpus), "--teacher", str(teacher.path))
    refused(command, "mlp takes features of shape (B, F), not named inputs", "--student", "mlp", *words)
    refused(command, "per_token is", "--student", "transformer(dim=8, heads=2, per_token=false)", *words)
    refused(
        command, "srrl is for tasks with one decision", "--objective", "ce + srrl", "--student", SMALL, *words
    )
    refused(
        command,
        "at compares a text token by token",
        "--objective",
        "ce + at",
        "--student",
        "transformer(dim=16, heads=2)",
        *words,
    )
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "train.conll").write_text("Ada B-PER\nwent\n")
    refused(command, "line 2 of", "--data-dir", str(bad), "--student", SMALL, "--teacher", str(teacher.path))
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"text": "Ada went", "label": "O"}\n')
    refused(command, "teaches to choose one class for each sample", "--teacher", str(answers), *base)


def test_its_own_tokenizer_is_what_a_loaded_teacher_reads(teacher: Run) -> None:
    reads = preparations.preparation_of(read_card(teacher.path / "student.safetensors"), teacher.path)
    given = teacher.data().example(2, reads)
    assert isinstance(given, Words)
    assert isinstance(teacher.data().task, TokenClassification)


def test_a_cache_filled_beforehand_answers_for_every_word(
    teacher: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    precision = {"training.precision": "fp32", "training.trackers": []}
    *_, last = fill(
        teacher=teacher.path, data="tagged", data_dir=corpus, cache_teacher="both", settings=precision
    )
    assert (last.done, last.asked) == (80, 80)
    settings: dict[str, Any] = {"objective": "kd + 0.1*icd", "epochs": 1, "lr": 0.05, "settings": precision}
    run = distilled(teacher, corpus, tmp_path / "run", cache_teacher="both", **settings)
    assert run.result.teacher_forwards == 0


def test_probabilities_of_a_teacher_are_of_one_tag_for_each_token(corpus: Path) -> None:
    source = data.load("tagged", corpus)
    torch.manual_seed(0)
    network = models.build("transformer(dim=8, heads=2)", num_classes=7, facts=source.facts)
    soft = torch.nn.Sequential(network.eval(), torch.nn.Softmax(2))
    config = TeacherConfig(model="<x>", outputs="probabilities")
    ids = named(source.example(2))["input_ids"]
    found = networks.with_logits(soft, config, source)(ids)
    torch.testing.assert_close(found, network(ids).log_softmax(2), rtol=1e-4, atol=1e-4)


def test_resumed_it_ends_with_the_weights_of_the_undisturbed_run(
    teacher: Run, encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    student = f"hf:{encoder}(layers=1)"
    whole = distilled(teacher, corpus, tmp_path / "whole", student, epochs=3)
    with interrupted_after(2):
        distilled(teacher, corpus, tmp_path / "part", student, epochs=3)
    part = limbeck.distill(out=tmp_path / "part", resume=True, display=False)
    ours, theirs = limbeck.load(part).state_dict(), limbeck.load(whole).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_accumulation_changes_nothing(teacher: Run, corpus: Path, tmp_path: Path) -> None:
    settings = {"training.trackers": [], "training.precision": "fp32"}
    small = "transformer(dim=8, heads=2, depth=1, dropout=0.0)"
    runs = [
        distilled(
            teacher,
            corpus,
            tmp_path / str(pieces),
            small,
            objective="0.5*ce + 0.5*dkd",
            epochs=2,
            lr=0.05,
            settings={**settings, "training.accumulation": pieces},
        )
        for pieces in (1, 3)
    ]
    ours, theirs = (limbeck.load(run).state_dict() for run in runs)
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)
