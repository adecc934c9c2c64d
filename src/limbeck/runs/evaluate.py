"""Measuring a finished run, beside its teacher and a baseline."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from limbeck import data as sources
from limbeck import evaluation
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError, unknown
from limbeck.evaluation import Contender, Evaluation, results
from limbeck.evaluation.results import Role, Suite
from limbeck.features import reordered
from limbeck.files import write_text
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.factory import named_by
from limbeck.runs import language, networks, places, preparations
from limbeck.runs.directory import Report, Run, is_imported, load, place_of
from limbeck.runs.matching import match
from limbeck.runs.modelcard import write_model_card
from limbeck.runs.network_checks import check_files
from limbeck.runs.network_names import is_path
from limbeck.runs.network_record import read_card
from limbeck.runs.pair_teachers import scores_pairs
from limbeck.runs.schedules import schedule_of
from limbeck.runs.supervised import supervision
from limbeck.runs.task_scores import Harness
from limbeck.runs.widths import check_width, width_of
from limbeck.tasks import Task
from limbeck.teachers.files.reading import is_answers
from limbeck.training.devices import own_device

FILE = "evaluation.json"


def evaluate(
    run: Run | Path | str,
    data: str | Source | None = None,
    data_dir: Path | None = None,
    *,
    suite: Suite = "quick",
    baseline: Run | Path | str | None = None,
    seed: int | None = None,
    noise_samples: int | None = None,
    complexity: int | None = None,
    ridge: float | None = None,
    lm_eval: Sequence[str] = (),
    lm_eval_limit: int | None = None,
    device: str = "auto",
    network: nn.Module | None = None,
    teacher: nn.Module | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> Evaluation:
    """Measures a run's student, its teacher and a baseline; what `limbeck evaluate` does.

    On the run's own data the result is written to `evaluation.json` in the run, and the report and the model
    card are made anew. An evaluation that holds more, of the full suite or of further networks, is only
    replaced with `overwrite`.

    Args:
        run: a finished run or an imported network, or its directory.
        data: a data set's name, or a source; the run's own data if None.
        data_dir: where its files are; where the run had them if None.
        suite: "quick" or "full"; see `limbeck.evaluation.evaluate`.
        baseline: another run, such as the same student trained on labels alone; on the run's own data the
            student alone that it is shown beside if None.
        seed: random seed of the noise in the full suite, and of the samples of `complexity`; 0 if None.
        noise_samples: how many samples the full suite shows with noise; all if None.
        complexity: on how many training samples the supervision complexity is measured, for the student as it
            is and as it began; it is left out if None. See `limbeck.evaluation.supervision`.
        ridge: what regularizes it, a share of its kernel's diagonal; 1e-4 if None.
        lm_eval: tasks of lm-eval on which language models are scored, by name or by a YAML file.
        lm_eval_limit: documents of each of these tasks, at most; all if None.
        device: where to run the networks: "auto", the accelerator if there is one; "cpu", "cuda", or "cuda:1"
            for one of several.
        network: where the student was handed over as an object, one like it; it gets the run's weights.
        teacher: where the teacher was handed over as an object, that one.
        overwrite: replace an evaluation that holds more.
        report: a function that writes the run's page, as `limbeck.evaluate` gives one by default; no page is
            written if None.
    Raises:
        LimbeckError: for a run without a student, or without data of its own where none is given; for data
            that the student does not fit, that has changed since the run, or that has nothing to measure on;
            for a baseline of other data or classes; for an evaluation that would lose something; and for a
            run that has lost what its report is made of.
    """
    if suite not in ("quick", "full"):
        raise unknown("suite", suite, ("quick", "full"))
    place = own_device(device)
    if complexity is None and ridge is not None:
        raise LimbeckError("a ridge is for the supervision complexity; ask for complexity (--complexity)")
    if lm_eval_limit is not None and not lm_eval:
        raise LimbeckError("a limit of documents is for tasks of lm-eval; name some (--lm-eval)")
    run = _run(run)
    student = load(run, network)
    source = run.data(data_dir) if data is None else _source(run, student, data, data_dir)
    known = None if is_imported(run.path) else run.result.data.fingerprint
    own = source.fingerprint() == known
    if data is None and not own:
        raise LimbeckError(
            f"{source.name} is no longer what {str(run.path)!r} was made on: its fingerprint was {known} and "
            f"is {source.fingerprint()}; name it with data (--data) to measure on it all the same"
        )
    matched = _matched(run, source, "student")
    contenders: dict[Role, Contender] = {"student": matched.on(of_run(student, run))}
    notes = (
        [] if own else [f"Measured on {source.name}, which is not the data of the run; nothing is written."]
    )
    notes += matched.notes
    try:
        found_teacher = _teacher(run, source if own else None, teacher)
    except LimbeckError as error:
        notes.append(f"The teacher is left out: {error}.")
    else:
        # Its outputs are in the order of the run's data, as the student's are.
        contenders |= {"teacher": matched.on(found_teacher)} if found_teacher else {}
    if baseline is not None:
        contenders["baseline"], said = _baseline(_run(baseline), known, source)
        notes += said
    elif own and (alone := run.alone) is not None:
        try:
            contenders["baseline"], said = _baseline(alone, known, source, copy.deepcopy(network))
        except LimbeckError as error:
            said = (f"The baseline is left out: {error}.",)
        notes += said
    if own:
        _check_replaceable(run, suite, contenders, complexity, lm_eval, notes, overwrite=overwrite)
    harness = Harness(lm_eval, lm_eval_limit, source, contenders) if lm_eval else None
    hard = None
    if complexity is not None:
        hard, said = supervision(
            run if own else None, source, contenders, complexity, ridge, seed or 0, place
        )
        notes += said
    found = evaluation.evaluate(
        source,
        contenders,
        suite=suite,
        seed=seed if suite == "full" or complexity is None else None,
        noise_samples=noise_samples,
        device=place,
    )
    scores = harness.scores() if harness else ()
    found = found.model_copy(update={"supervision": hard, "scores": scores, "notes": (*notes, *found.notes)})
    if own:
        write(run, found)
        if report:
            report(run, run.result, source)
        write_model_card(run, run.result)
    return found


def write(run: Run, found: Evaluation) -> None:
    """Writes a run's `evaluation.json`, whole or not at all."""
    write_text(
        run.path / FILE, found.model_dump_json() + "\n"
    )  # of many classes, a line a number is too long


def of_run(network: nn.Module, run: Run, features: Mapping[str, str | list[str]] | None = None) -> Contender:
    """A run's student, loaded, with the name and the feature points it has there."""
    card = read_card(run.path / "student.safetensors")
    config = None if is_imported(run.path) else run.config.student
    name = (card and card.model) or (config.model if config else type(network).__name__)
    # A network with a graft on it has its modules under other paths.
    points = config.features if config and not isinstance(network, GraftedStudent) else {}
    preparation = preparations.preparation_of(card, run.path)
    known = config is not None
    return Contender(network, name, str(run.path), features or points, preparation, unseen=known)


def of_config(network: nn.Module, config: NetworkConfig, task: Task) -> Contender:
    """A network that a config names, with the name it has in the run it is from.

    Args:
        network: the network.
        config: what names it.
        task: what it is for.
    """
    if (schedule := schedule_of(config.model)) is not None:
        return of_run(network, schedule.run, config.features)
    path = Path(config.model)
    if is_path(config.model) and path.is_dir():
        return of_run(network, Run(path), config.features)
    return Contender(
        network,
        config.model,
        features=config.features,
        preparation=preparations.preparation(config, task),
        unseen=False,
    )


def _run(run: Run | Path | str) -> Run:
    run = Run(place_of(run))
    if not (run.path / "config.yaml").is_file() and not is_imported(run.path):
        raise LimbeckError(f"{str(run.path)!r} is no run's directory: it holds no config.yaml")
    return run


def _source(run: Run, student: nn.Module, data: str | Source, data_dir: Path | None) -> Source:
    source = data if isinstance(data, Source) else sources.load(data, data_dir, run.tokens)
    check_files(run.path, "student", source)
    language.as_read(of_run(student, run).preparation, source, "the student")
    _check_outputs(of_run(student, run), "student", source, _matched(run, source, "student"))
    return source


@dataclass(frozen=True)
class _Matched:
    """How the outputs of a run's networks become those of the data that they are measured on."""

    order: tuple[int, ...] | None
    width: int
    notes: tuple[str, ...]

    def on(self, contender: Contender) -> Contender:
        """The contender with outputs as the data has them."""
        if self.order is None:
            return contender
        network = reordered(contender.network, self.order, self.width)
        return replace(contender, network=network)


def _matched(run: Run, source: Source, role: str) -> _Matched:
    """Matches the outputs of a run's student with those of the data by name."""
    card = read_card(run.path / "student.safetensors")
    found = match(card, source, role, str(run.path))
    said = () if found.note is None else (f"{found.note[0].upper()}{found.note[1:]}.",)
    return _Matched(found.order, len(card.names) if card else 0, said)


def _check_replaceable(
    run: Run,
    suite: Suite,
    roles: Collection[Role],
    complexity: int | None,
    lm_eval: Sequence[str],
    notes: Sequence[str],
    *,
    overwrite: bool,
) -> None:
    """Refuses, before anything is measured, what could not be written, or would lose what was measured."""
    try:
        _ = run.history, run.environment  # the report is made of them
    except OSError as error:
        raise LimbeckError(f"{str(error.filename)!r} is missing, and the report is made of it") from None
    there = None if overwrite else results.read(run.path / FILE)
    if there is None:
        return
    lost = [f"the {role}" for role in there.networks if role not in roles]
    lost += ["the supervision complexity"] if there.supervision is not None and complexity is None else []
    lost += ["tasks of lm-eval"] if there.scores and not lm_eval else []
    lost += ["the full suite"] if there.suite == "full" and suite == "quick" else []
    if lost:
        why = "".join(f" {note}" for note in notes)
        raise LimbeckError(
            f"{str(run.path / FILE)!r} holds figures that this would lose, of {' and '.join(lost)}; measure "
            f"as much again, or say overwrite=True (--overwrite).{why}"
        )


def _teacher(run: Run, source: Source | None, given: nn.Module | None) -> Contender | None:
    """The run's teacher, made with the run's own data, which may have given it its normalization."""
    taught_by = {} if is_imported(run.path) else run.config.taught_by
    beside = run.result.measured_beside if taught_by else None
    config = None if beside is None else taught_by[beside]
    if config is None and given is not None:
        return Contender(given, f"<{type(given).__name__}>", unseen=False)
    if config is None:
        return None
    if given is not None:
        if config.outputs != "logits":
            given = networks.with_logits(given, config, source or run.data())
        return Contender(given, config.model, features=config.features, unseen=False)
    if config.model.startswith("<"):
        raise LimbeckError(
            f"{config.model} was handed over as an object, and has to be again, in Python (teacher=...)"
        )
    if is_answers(config.model):
        raise LimbeckError(f"{config.model} is a file of answers about training samples, and no network")
    config = places.located(config, run)
    source = source or run.data()
    if scores_pairs(config, source):
        raise LimbeckError(
            f"{config.model} is a cross-encoder, which scores pairs and embeds no documents to search"
        )
    reads = preparations.preparation(config, source.task)
    told = language.as_read(reads, source, "the teacher", aligned=True)
    with named_by(run.path):
        found = of_config(networks.teacher(config, told), config, source.task)
    return replace(found, told=None if told is source else told)


def _baseline(
    baseline: Run, known: str | None, source: Source, network: nn.Module | None = None
) -> tuple[Contender, tuple[str, ...]]:
    network = load(baseline, network)
    theirs = None if is_imported(baseline.path) else baseline.result.data.fingerprint
    if theirs and known and theirs != known:
        raise LimbeckError(
            f"the baseline {str(baseline.path)!r} was made on other data ({baseline.result.data.name}, "
            f"fingerprint {theirs}) than the run (fingerprint {known}); compare runs on the same data"
        )
    check_files(baseline.path, "baseline", source)
    language.as_read(of_run(network, baseline).preparation, source, "the baseline")
    matched = _matched(baseline, source, "baseline")
    contender = of_run(network, baseline)
    _check_outputs(contender, "baseline", source, matched)
    return matched.on(contender), matched.notes


def _check_outputs(contender: Contender, role: str, source: Source, matched: _Matched) -> None:
    contender = matched.on(contender)
    width = width_of(contender.network, role, source, contender.preparation, contender.features)
    check_width(width, role, source)
