"""The folder of the format hf: `transformers` alone loads it and answers as the student does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

import limbeck
from huggingface_run import finished
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.runs.exports import hf
from pretrained_folders import texts

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
WRITTEN = [text for text, _ in texts(12, seed=5)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(tmp_path_factory.mktemp("hf"))


@pytest.fixture(scope="module")
def folder(run: Run) -> Path:
    exported = export(run, "hf")
    assert exported.lines[0] == (
        "a folder for BertForSequenceClassification.from_pretrained; its labels are food, travel, weather"
    )
    assert exported.lines[1] == "its tokenizer is beside it and cuts texts to 8 tokens"
    assert "all decisions are the same" in exported.lines[2]
    return exported.file


def test_auto_model_and_auto_tokenizer_answer_as_the_student(run: Run, folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = tokenizer(WRITTEN, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(network(**inputs).logits, limbeck.load(run)(**inputs).logits, atol=1e-5)


def test_a_pipeline_names_the_classes(run: Run, folder: Path) -> None:
    found = transformers.pipeline("text-classification", model=str(folder))(WRITTEN, truncation=True)
    network, task = limbeck.load(run), run.data().task
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(WRITTEN, padding=True, truncation=True, return_tensors="pt")
    probabilities = network(**inputs).logits.softmax(1).max(1)
    assert [each["label"] for each in found] == [task.outputs[label] for label in probabilities.indices]
    assert [each["score"] for each in found] == pytest.approx(probabilities.values.tolist(), abs=1e-4)


def test_the_config_says_what_it_is_for(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "food", "1": "travel", "2": "weather"}
    assert config["problem_type"] == "single_label_classification"
    assert "name_or_path" not in json.dumps(config)


def test_the_card_is_the_run_s_for_users_of_transformers(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "library_name: transformers" in card
    assert 'pipeline("text-classification", model="DIRECTORY")' in card
    assert "limbeck.load" not in card


def test_the_run_s_own_card_says_where_its_tokens_are_from(run: Run) -> None:
    card = (run.path / "README.md").read_text()
    assert 'transformers.AutoTokenizer.from_pretrained("tokenizer")' in card
    assert "input_ids (batch, length) int64" in card


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_programs_take_texts_of_any_length(form: str, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the onnx extra is not installed")
    exported = export(run, form, tmp_path / "deep" / f"student.{form}")
    assert "input_ids (batch, length) int64" in exported.lines[1]
    assert "in batches of 1, 2, 32, 5" in exported.lines[2]
    assert "token ids by tokenizer.json, at most" in exported.lines[1], "the run's folder does not travel"
    tokenizer = Tokenizer.from_file(str(exported.file.with_name("tokenizer.json")))
    theirs = transformers.AutoTokenizer.from_pretrained(run.path / "tokenizer")(
        WRITTEN, padding=True, truncation=True
    )
    assert [each.ids for each in tokenizer.encode_batch(WRITTEN)] == theirs["input_ids"]


def test_a_student_of_the_data_s_own_tokens_goes_with_their_tokenizer(run: Run, tmp_path: Path) -> None:
    spec = 'hf:config(model_type="bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=1)'
    made = limbeck.train(
        model=spec,
        data="text",
        data_dir=run.config.data.dir,
        epochs=1,
        settings={"training.trackers": []},
        display=False,
        out=tmp_path / "run",
    )
    folder = export(made, "hf").file
    assert 'pipeline("text-classification", model="DIRECTORY")' in (folder / "README.md").read_text()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    samples = made.data().train.samples
    inputs = tokenizer(samples.texts()[:9], padding=True, truncation=True, return_tensors="pt")  # type: ignore[attr-defined]
    own: Any = samples.take(torch.arange(9), torch.zeros(9))
    with torch.no_grad():
        assert torch.allclose(network(**inputs).logits, limbeck.load(made)(**own).logits, atol=1e-5)


def test_a_folder_whose_tokenizer_reads_other_tokens_is_not_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf, "_tokenizer", lambda folder: hf._of_data(run.data().files["tokenizer.json"]))
    with pytest.raises(LimbeckError, match=r"makes other tokens of .*; it was not kept"):
        export(run, "hf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_replaced_on_request_only(run: Run, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"student-hf' exists; say overwrite=True"):
        export(run, "hf")
    (folder / "model.safetensors").unlink()
    export(run, "hf", overwrite=True)
    assert (folder / "model.safetensors").is_file()
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(LimbeckError, match="holds files that are no model"):
        export(run, "hf", tmp_path, overwrite=True)
    with pytest.raises(LimbeckError, match=r"is a file; out .* names the folder to write"):
        export(run, "hf", tmp_path / "thesis.tex", overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_nothing_is_left_of_a_folder_that_does_not_answer_alike(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hf, "reopen", lambda folder, card: lambda inputs: torch.zeros(len(inputs["input_ids"]), 3)
    )
    with pytest.raises(LimbeckError, match="does not answer as the student and was not kept"):
        export(run, "hf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_other_students_are_refused(teacher: Run) -> None:
    with pytest.raises(
        LimbeckError, match=r"is for networks of transformers \(hf:...\), and this student is mlp"
    ):
        export(teacher, "hf")


def test_an_image_network_is_written_with_its_normalization(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    settings: dict[str, Any] = {"size": 8, "image_mean": [0.4], "image_std": [0.25]}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    run = limbeck.train(
        model=f"hf:{tmp_path / 'vit'}",
        epochs=1,
        batch_size=100,
        settings={"training.trackers": []},
        display=False,
        out=tmp_path / "run",
    )
    folder = export(run, "hf").file
    written = json.loads((folder / "preprocessor_config.json").read_text())
    assert written["image_mean"] == [0.4]
    assert written["image_std"] == [0.25]
    assert written["size"] == {"height": 8, "width": 8}
    network: nn.Module = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        ours = limbeck.load(run)(images).logits
        assert torch.allclose(network((images - 0.4) / 0.25).logits, ours, atol=1e-5)
