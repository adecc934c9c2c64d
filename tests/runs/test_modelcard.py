from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from small_runs import QUICK, make_student, make_teacher
from torch import Tensor

import limbeck
from limbeck import data, models
from limbeck.doors import evaluate
from limbeck.evaluation import results
from limbeck.outputs import Inputs
from limbeck.runs import Run
from limbeck.runs.evaluate import write
from limbeck.runs.exporting import export
from limbeck.runs.exports.metadata import named_tensors
from limbeck.runs.modelcard import MARK, write_model_card
from limbeck.tasks.classification.findings import ClassificationFindings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A student of the digits with a teacher."""
    folder = tmp_path_factory.mktemp("runs")
    return make_student(folder / "student", make_teacher(folder / "teacher"), objective="0.1*ce + 0.9*kd")


def text_of(run: Run) -> str:
    return (run.path / "README.md").read_text(encoding="utf-8")


def front_of(run: Run) -> ModelCardData:
    """What Hugging Face's own reader makes of the card."""
    front = ModelCard(text_of(run)).data
    assert isinstance(front, ModelCardData)
    return front


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def copied(run: Run, to: Path) -> Run:
    return Run(Path(shutil.copytree(run.path, to)))


def test_the_hub_reads_what_the_student_is_worth(run: Run) -> None:
    front = front_of(run)
    assert vars(front)["library_name"] == "limbeck"
    assert front.pipeline_tag == "image-classification"
    assert front.tags == ["limbeck", "knowledge-distillation"]
    assert front.datasets is None, "they are not on the hub"
    assert front.model_name == "mlp(hidden=[6]) on digits"
    found = {each.metric_type: each.metric_value for each in front.eval_results or []}
    measured = run.result.metrics.on("test")
    wanted = {"accuracy": "top1", "top5_accuracy": "top5", "f1": "macro_f1", "nll": "nll", "ece": "ece"}
    assert found == {name: pytest.approx(measured[metric]) for name, metric in wanted.items()}
    for each in front.eval_results or []:
        assert (each.dataset_name, each.dataset_split, each.task_type) == (
            "digits",
            "test",
            front.pipeline_tag,
        )


def test_people_read_how_it_was_made(run: Run) -> None:
    text = text_of(run)
    teacher = run.config.taught_by["teacher"].model
    named = f"`{teacher}` (`mlp(hidden=[16])`), a teacher with 1,210 parameters."
    assert f"distilled with limbeck from {named}" in text
    made = section(text, "How it was made")
    assert "| objective | `0.1*ce + 0.9*kd` |" in made
    assert '"temperature": 4' in made, "arguments that were left out are told too"
    assert "| optimizer | `sgd(lr=0.05, momentum=0.9, nesterov=False, weight_decay=0.0005)` |" in made
    assert "| epochs, batch size, seed | 2, 250, 0 |" in made
    assert f"fingerprint `{run.result.data.fingerprint}`" in made
    top1 = 100 * run.result.metrics.on("test")["top1"]
    assert f"| top-1 (%) | {top1:.1f} (" in section(text, "What it is worth")


def test_the_limits_are_those_that_were_measured(run: Run) -> None:
    student = limbeck.load(run)
    test = data.load("digits").test
    assert test is not None
    batch = next(iter(data.Loader(test, len(test), shuffle=False)))
    assert batch.targets is not None
    right = (student(batch.inputs).argmax(1) == batch.targets).double()
    worst = min(range(10), key=lambda each: right[batch.targets == each].mean().item())
    share, count = right[batch.targets == worst].mean().item(), int((batch.targets == worst).sum())
    limits = section(text_of(run), "Limits")
    found = re.search(r"It is weakest on `(\d)`: right in ([\d.]+) % \(.*\) of (\d+) samples\.", limits)
    assert found is not None
    assert float(found[2]) == pytest.approx(100 * share, abs=0.05)
    assert int(found[3]) == count
    assert f"off by {100 * run.result.metrics.on('test')['ece']:.1f} % on average" in limits
    assert "How it fares with noisy inputs was not measured." in limits


@pytest.mark.parametrize(("nll_after", "verdict"), [(0.1, "helps"), (9.0, "does not mend it")])
def test_a_temperature_that_does_not_help_is_not_praised(
    run: Run, tmp_path: Path, nll_after: float, verdict: str
) -> None:
    copy = copied(run, tmp_path / "copy")
    found = results.read(copy.path / "evaluation.json")
    assert found is not None
    its = found.student.findings
    assert isinstance(its, ClassificationFindings)
    fitted = {"temperature": 0.5, "ece_after": its.calibration.ece / 2, "nll_after": nll_after}
    findings = its.model_copy(update={"calibration": its.calibration.model_copy(update=fitted)})
    student = found.student.model_copy(update={"findings": findings})
    write(copy, found.model_copy(update={"networks": {"student": student}}))
    write_model_card(copy, copy.result)
    (line,) = [line for line in text_of(copy).splitlines() if "Dividing the logits by 0.5, a" in line]
    assert f"on the validation split, {verdict}: that becomes" in line
    assert f"the NLL {nll_after:g} nats instead of" in line


def test_data_of_the_hub_are_named_as_there(run: Run, tmp_path: Path) -> None:
    copy = copied(run, tmp_path / "copy")
    data = copy.result.data.model_copy(update={"hub": "somebody/digits"})
    write_model_card(copy, copy.result.model_copy(update={"data": data}))
    front = front_of(copy)
    assert front.datasets == ["somebody/digits"]
    assert {each.dataset_type for each in front.eval_results or []} == {"somebody/digits"}


def run_blocks(run: Run, inputs: Inputs) -> list[Tensor]:
    """What the card's pieces of code make of some inputs, in the run's directory."""
    answers = []
    for block in re.findall(r"```python\n(.*?)```", section(text_of(run), "How to use it"), re.DOTALL):
        tensors = dict(named_tensors(inputs))
        given: dict[str, Any] = {"inputs": inputs, **tensors}
        if "onnxruntime" in block:
            given = {name: tensor.numpy() for name, tensor in tensors.items()}
        if "load_state_dict" in block:
            given["network"] = models.build(run.config.student.model, example=inputs, num_classes=10).eval()
        exec(block.replace("DIRECTORY", "."), given)
        answer = given["outputs"] if "outputs" in given else given["logits"]
        answers.append(torch.as_tensor(answer).detach())
    return answers


def test_its_code_runs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copied(run, tmp_path / "run")
    assert "onnxruntime" not in text_of(copy)
    export(copy, "onnx")
    export(copy, "pt2")
    inputs = data.load("digits").example(5)
    monkeypatch.chdir(copy.path)
    answers = run_blocks(copy, inputs)
    assert len(answers) == 4
    for answer in answers:
        torch.testing.assert_close(answer, limbeck.load(copy)(inputs).detach())


def test_a_text_student_comes_with_its_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "text,label",
        *(f"{word} {word} rain,{number % 2}" for number, word in enumerate("abcdefgh" * 6)),
    ]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    model = "transformer(dim=4, depth=1, heads=1)"
    run = limbeck.train(
        model=model, data="text", data_dir=tmp_path, out=tmp_path / "run", **{**QUICK, "batch_size": 16}
    )
    for form in ("onnx", "pt2"):
        export(run, form)
    front = front_of(run)
    assert front.pipeline_tag == "text-classification"
    assert front.tags == ["limbeck"]
    assert "trained with limbeck, without a teacher" in text_of(run)
    use = section(text_of(run), "How to use it")
    assert '`limbeck.data.encode(tokenizers.Tokenizer.from_file("tokenizer.json"), texts)`' in use
    monkeypatch.chdir(run.path)
    inputs = data.load("text", tmp_path).example(3)
    assert not isinstance(inputs, Tensor)
    for answer in run_blocks(run, inputs):
        torch.testing.assert_close(answer, limbeck.load(run)(**inputs).detach())


def test_a_card_that_the_user_made_theirs_stays(run: Run, tmp_path: Path) -> None:
    copy = copied(run, tmp_path / "run")
    file = copy.path / "README.md"
    file.write_text(f"{MARK}\nold")
    evaluate(copy)
    assert text_of(copy) == text_of(run)
    file.write_text(text_of(run).replace(MARK, "") + "My own words.")
    before = text_of(copy)
    write_model_card(copy, copy.result)
    export(copy, "pt2")
    assert text_of(copy) == before


def test_data_without_a_held_out_part(tmp_path: Path) -> None:
    inputs = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    source = data.from_tensors(inputs, torch.arange(40) % 2, validation=None, name="mine")
    run = limbeck.train(model="mlp(hidden=[3])", data=source, out=tmp_path / "run", **QUICK)
    front = front_of(run)
    assert front.pipeline_tag == "tabular-classification"
    assert not front.eval_results
    assert "No part of the data was held out to measure it on." in text_of(run)
    assert "How good it is was not measured." in section(text_of(run), "Limits")
