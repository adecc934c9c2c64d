"""The model card of a run: a `README.md` for people, with the metadata that Hugging Face's hub reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from limbeck import tasks
from limbeck.config import RunConfig
from limbeck.evaluation import results
from limbeck.evaluation.results import Evaluation, NetworkResult
from limbeck.files import write_text
from limbeck.models import huggingface
from limbeck.notation import Call
from limbeck.optimization import OptimizerConfig, ScheduleConfig
from limbeck.runs import gain
from limbeck.runs.directory import Run
from limbeck.runs.exports import quantization
from limbeck.runs.exports.metadata import preprocessing, summary
from limbeck.runs.lineage import generations, line, split_of
from limbeck.runs.network_record import Card, read_card
from limbeck.runs.published import local_models, without_places
from limbeck.runs.result import Result
from limbeck.tasks import Metric
from limbeck.tasks.wording import axis, figure, interval, percent, show, told

MARK = "<!-- limbeck writes this card anew with every result; without this line it leaves the card to you -->"

_CLASSIFIERS = {3: "image-classification", 1: "tabular-classification"}
"""The hub's word for what a classifier does, by the axes of a sample; named tensors are texts."""

ONNX = ("student.onnx", "student.int8.onnx")
"""Files of ONNX that the card has lines of code for, the first that is there."""

_NAMED = 20
"""Outputs that the text names; of more it tells the number."""


def write_model_card(run: Run, result: Result) -> None:
    """Writes a run's `README.md`, whole or not at all; one that has lost its `MARK` is the user's and stays.

    Args:
        run: with a student, and maybe an evaluation and exported files.
        result: what its `result.json` holds or will hold.
    Raises:
        LimbeckError: for a student, an evaluation or a quantization whose record is damaged.
    """
    file = run.path / "README.md"
    if not is_users(file):
        write_text(file, model_card(run, result))


def is_users(file: Path) -> bool:
    """Whether a card is there that has lost its `MARK`, and so is the user's."""
    return file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace")


def model_card(run: Run, result: Result, *, hub: bool = False, published: bool = False) -> str:
    """The text of a run's card.

    Args:
        run: with a student, and maybe an evaluation and exported files.
        result: what its `result.json` holds or will hold.
        hub: whether the card is for a folder that `transformers` loads.
        published: whether it is for others, who have neither the places on this machine nor the run's other
            files; always so for the hub.
    """
    published = published or hub
    card = read_card(run.path / "student.safetensors")
    assert card is not None, "a run writes its card with the weights"
    task = card.made_for()
    found = results.read(run.path / "evaluation.json")
    made = _front_matter(card, result, found, local_models(run), hub=hub)
    front = yaml.safe_dump(made, sort_keys=False, allow_unicode=True)
    inputs, small = preprocessing(card), quantization.read(run.path)
    body = _template().render(
        mark=MARK,
        hub=hub,
        published=published,
        tag=_hub_tag(card),
        brings=card.tokenizer is not None,
        title=_title(card, result),
        result=result,
        grafted=card.graft is not None,
        teacher=_teacher(result, found),
        found=found,
        figures=dict(_figures(found)) if found else {},
        inputs=summary(inputs),
        names=[each["name"] for each in inputs["inputs"]],
        named=isinstance(card.input_shape, dict),
        tokenizer="tokenizer.json" in card.files,
        onnx=next((name for name in ONNX if (run.path / name).exists()), None),
        pt2=(run.path / "student.pt2").exists(),
        quantization=small if small and small.lies_in(run.path) else None,
        task=task,
        classes=task.name == "classification",
        writes=task.hub_tag == "text-generation",
        outputs=[f"`{name}`" for name in task.outputs] if task.width <= _NAMED else None,
        constants=_constants(card),
        making=dict(_making(run.config, result)),
        gain=result.alone and gain.told(result.alone, task.primary),
        limits=list(_limits(result, found)),
    )
    text = f"---\n{front}---\n\n{body}"
    return without_places(text, run, result) if published else text


def _teacher(result: Result, found: Evaluation | None) -> str | None:
    """The teacher as the run names it, and the network that it is; None without one."""
    if result.teacher is None:
        return None
    named, there = result.teacher.model, found and found.networks.get("teacher")
    return f"`{named}`" if not there or there.name == named else f"`{named}` (`{there.name}`)"


@cache
def _template() -> Template:
    """The template, compiled once."""
    environment = Environment(
        loader=PackageLoader("limbeck.runs", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=show, percent=percent)
    return environment.get_template("modelcard.md.jinja")


def _front_matter(
    card: Card, result: Result, found: Evaluation | None, local: Collection[str], *, hub: bool
) -> dict[str, Any]:
    """The metadata of a Hugging Face model card; the license is for who publishes the student."""
    tag = _hub_tag(card)
    data, of_hub = result.data.name, result.data.hub
    front: dict[str, Any] = {
        "library_name": "transformers" if hub else "limbeck",
        **_base(card, local),
        "pipeline_tag": tag,
        "tags": ["limbeck", *(["knowledge-distillation"] if result.teachers else [])],
        **({"datasets": [of_hub]} if of_hub else {}),
    }
    if found is None:
        return front
    metrics = [each for each in found.found_task.metrics if each.name in found.student.metrics]
    values = {each.hub or each.name: found.student.metrics[each.name] for each in metrics}
    measured = {
        "task": {"type": tag},
        "dataset": {"name": data, "type": of_hub or data.partition("(")[0], "split": found.split},
        "metrics": [{"type": name, "value": value} for name, value in values.items()],
    }
    index = [{"name": _title(card, result), "results": [measured]}]
    return {**front, "metrics": [metrics[0].hub or metrics[0].name], "model-index": index}


def _base(card: Card, local: Collection[str]) -> dict[str, str]:
    """The model on the hub that the student started from, if there is one; it is none of the local ones."""
    named = huggingface.read(card.model) if card.model and huggingface.is_hf(card.model) else None
    if named is None or not named.brings_weights or card.model in local or Path(named.place).is_dir():
        return {}
    return {"base_model": named.place, "base_model_relation": "finetune"}


def _hub_tag(card: Card) -> str:
    """The hub's word for what the network does; that of a classifier depends on what it takes."""
    task, shape = card.made_for(), card.input_shape
    if task.hub_tag or task.scores != "classes":
        return task.hub_tag or "other"
    return "text-classification" if isinstance(shape, dict) else _CLASSIFIERS.get(len(shape), "other")


def _constants(card: Card) -> dict[str, str]:
    """What of the network is not among its weights, as lines of Python; empty where there is nothing.

    Returns: `inputs`, the line before the network runs, and `answer`, the line after it.
    """
    if card.graft is not None or isinstance(card.input_shape, dict):
        return {}
    axes = "".join(", 1" for _ in card.input_shape[1:])
    lines = {}
    if card.normalization:
        lines["inputs"] = f"inputs = (inputs - constant['normalize_mean'].view(-1{axes}))"
        lines["inputs"] += f" / constant['normalize_std'].view(-1{axes})"
    if card.rescaling:
        lines["answer"] = "outputs = outputs * constant['output_std'] + constant['output_mean']"
    return lines


def _title(card: Card, result: Result) -> str:
    return f"{card.model or result.student.model.strip('<>')} on {result.data.name}"


def _figures(found: Evaluation) -> Iterator[tuple[str, list[str]]]:
    """Rows of a table with a column for each network."""
    networks = found.networks.values()

    for metric in found.found_task.metrics:
        if metric.name in found.student.metrics:
            yield axis(metric), [_figure(metric, each) for each in networks]
    yield "parameters", [show(each.cost.parameters) for each in networks]
    yield "multiply-adds a sample", [show(each.cost.multiply_adds) for each in networks]
    yield "bytes of weights", [show(each.cost.bytes) for each in networks]


def _figure(metric: Metric, network: NetworkResult) -> str:
    """The value, with its interval where it has one."""
    value, rate = network.metrics.get(metric.name), network.intervals.get(metric.name)
    if value is None:
        return show(None)
    shown = figure(metric, value, percent=1) or show(None)
    return shown if rate is None else f"{shown} ({interval(metric, rate)})"


def _making(config: RunConfig, result: Result) -> Iterator[tuple[str, str]]:
    """What was done, by name."""
    data, training = result.data, config.training
    yield "data", f"`{data.name}`, fingerprint `{data.fingerprint}`"
    some = "" if data.labeled == data.train else f", of which {data.labeled:,} have a label"
    yield "training samples", f"{data.train:,}{some}"
    yield "validation, test", f"{data.validation:,}, {data.test:,} samples"
    if data.noise:
        yield "training labels", f"`{data.noise}`"
    if data.weights is not None:
        low, high = data.weights
        yield "weights of training samples", f"{low:g} to {high:g}, in the terms that fit the labels"
    yield "objective", f"`{result.objective}`"
    yield "with all its arguments", f"`{json.dumps(result.arguments)}`"
    for name, teacher in result.teachers.items():
        if teacher.checkpoints is not None:
            yield name, f"{teacher.checkpoints} checkpoints of its training, later ones later on"
        if teacher.answers is not None:
            yield name, teacher.answers.told(tasks.from_record(result.task).primary)
    yield "optimizer", f"`{_call(training.optimizer)}`"
    yield "learning rate", f"`{_call(training.schedule)}`"
    yield "epochs, batch size, seed", f"{training.epochs}, {training.batch_size}, {config.seed}"
    if result.steps is not None and (training.max_steps or training.early_stopping):
        yield "optimizer steps", f"{result.steps:,}"
    if training.ema is not None:
        yield "weights", f"their average over the steps, with a decay of {training.ema:g}"
    kept = "the last" if result.selection == "last" else "the best on the validation split"
    yield "epoch that was kept", kept
    yield from _chain(result)


def _chain(result: Result) -> Iterator[tuple[str, str]]:
    """The runs that the student came from, by name; nothing if its teachers are no runs."""
    metric = tasks.from_record(result.task).primary
    found = generations(result, metric)
    if not found:
        return
    if in_a_line := line(found, metric):
        yield "chain of teachers", in_a_line
    split = split_of(found)
    for each in found[:-1]:
        said = [f"`{each.model}`"]
        said += [f"{show(each.parameters)} parameters"] if each.parameters is not None else []
        said += [f"trained by `{each.objective}`"] if each.objective else []
        said += [f"taught by {', '.join(f'`{name}`' for name in each.taught_by)}"] if each.taught_by else []
        said += (
            [f"{split} {metric.label} {told(metric, each.metrics[split])}"] if split in each.metrics else []
        )
        yield f"teacher `{each.name}`", ", ".join(said)


def _call(part: OptimizerConfig | ScheduleConfig) -> str:
    return str(Call(part.name, kwargs=part.model_dump(mode="json", exclude={"name"})))


def _limits(result: Result, found: Evaluation | None) -> Iterator[str]:
    """What is known to be weak, and what is not known."""
    if found is None:
        yield "How good it is was not measured."
        return
    student = found.student
    yield f"The figures are of the {found.split} split of this data and say nothing of inputs from elsewhere."
    if found.split == "validation" and result.selection == "validation":
        yield "The epoch was chosen by that split, so the figures are a little too good."
    yield from found.found_task.weaknesses(student.findings)
    if student.robustness:
        metric = found.found_task.primary
        worst = min if metric.higher else max
        kind, values = worst(student.robustness.items(), key=lambda each: each[1][-1])
        yield (
            f"Of the corruptions tried {kind.replace('_', ' ')} harms it most: {metric.label} "
            f"{told(metric, values[-1])} at severity 5."
        )
    else:
        yield "How it fares with noisy inputs was not measured."
