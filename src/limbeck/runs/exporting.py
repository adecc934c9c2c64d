"""A run's student as a file for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from limbeck import data as sources
from limbeck import models
from limbeck.data import Source, Split
from limbeck.data.preparation import Preparation
from limbeck.data.storage.base import spread
from limbeck.data.tokenization import Tokenization
from limbeck.data.towers import TowerTokenization
from limbeck.errors import LimbeckError, unknown
from limbeck.evaluation import results
from limbeck.files import replacing, write_text
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.checkpoints import save_checkpoint
from limbeck.models.standalone import NETWORK
from limbeck.optional import imported
from limbeck.outputs import Inputs
from limbeck.runs import preparations
from limbeck.runs.directory import Run, load, place_of
from limbeck.runs.exports import hf, onnx, pt2
from limbeck.runs.exports.check import MOST, CheckError, check
from limbeck.runs.exports.metadata import metadata, named_tensors, preprocessing, summary
from limbeck.runs.exports.program import trace
from limbeck.runs.exports.quality import MaxDrop
from limbeck.runs.exports.quantization import FILE, Quantization
from limbeck.runs.modelcard import model_card, write_model_card
from limbeck.runs.network_checks import check_files
from limbeck.runs.network_record import Card, digests, metadata_of, read_card, sample_shape, token_ids
from limbeck.runs.quantizing import DropError, check_quantize, quantized
from limbeck.tasks import Language

FEW = 100
"""Samples that a file is checked on where each has many decisions, or none, as an embedding has."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what there is to know of it, a sentence a line.

    `quantization` is what was measured of a quantized one.
    """

    file: Path
    lines: tuple[str, ...]
    quantization: Quantization | None = None


def export(
    run: Run | Path | str,
    form: str,
    out: Path | str | None = None,
    *,
    data: str | Source | None = None,
    data_dir: Path | None = None,
    network: nn.Module | None = None,
    overwrite: bool = False,
    quantize: str | None = None,
    max_drop: MaxDrop = "auto",
) -> Exported:
    """Writes a run's student to a file; what `limbeck export` does.

    A program, of ONNX or torch.export, is read back and has to answer as the student does on real data: the
    test split or, where there is none, the validation or the training split. What makes its inputs, such as
    the tokenizer, is written beside it.

    A quantized file is measured beside the one in float32 that it is made of. What was found is written to
    `quantization.json` in the run's directory.

    Args:
        run: the run, its directory, or a `student.safetensors` file.
        form: a name of `FORMATS`.
        out: the file; if None, `student` with the suffix of the format, in the run's directory; a quantized
            file is `student.int8.onnx`.
        data: what a program is checked on; the run's own data if None.
        data_dir: where its files are; where the run had them if None.
        network: where the student was handed over as an object, one like it.
        overwrite: replace the file.
        quantize: "int8" for a file of ONNX with weights of 8 bits; None for one in float32.
        max_drop: largest loss in the task's first metric that quantization may cost on the validation split,
            as the metric is shown: in points for a percentage; None for any, and "auto" for 1 point, or for
            1 % of the value of other metrics.
    Raises:
        LimbeckError: for a run without a student, an unknown format, one whose package is not installed or
            that the student is not for, no data to check on, and a file that exists or cannot be written; for
            a student that cannot be quantized; and for one that loses more than `max_drop` by it, of which no
            quantized file is kept.
        CheckError: if a program does not answer as the student does; it is not kept, and a file that was
            there stays as it was.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    check_quantize(form, quantize, max_drop)
    path = place_of(run)
    suffix = FORMATS[form] if quantize is None else f".{quantize}{FORMATS[form]}"
    file = _free(path, out, suffix, overwrite=overwrite, folder=form == "hf")
    if form in _COPIES and not (data is None and data_dir is None):
        raise LimbeckError(
            f"a file of {form} is not checked on data; leave out data and data_dir (--data, --data-dir)"
        )
    if form == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            imported(package, "onnx")
    student = load(path, network)
    card = read_card(path / "student.safetensors" if path.is_dir() else path)
    assert card is not None, "load has read it"
    if form in _PROGRAMS and card.task["name"] == Language.name:
        raise LimbeckError(
            f"a language model is exported with its tokenizer as hf, or as safetensors, and not as {form}"
        )
    found = results.read(path / "evaluation.json") if path.is_dir() else None
    shipped = found.student.findings.shipped if found else {}
    if form in _COPIES:
        return Exported(file, tuple(_COPIES[form](student, card, shipped, file)))
    if form == "hf":
        hf.check_fits(student, card)
    if quantize is not None and (fields := card.made_for().fields):
        raise LimbeckError(
            f"a student for {card.task['name']} answers with {', '.join(fields)} beside its logits, and "
            "quantization is for logits alone; leave out quantize (--quantize)"
        )
    source, reads = _source(path, card, data, data_dir), preparations.preparation_of(card, path)
    if form == "hf":
        return Exported(file, tuple(_folder(path, student, card, source, reads, file)))
    if isinstance(reads, TowerTokenization):
        raise LimbeckError(
            f"this student is two encoders, of queries and of documents, and {form} holds one program; take "
            "hf, which writes a folder for each"
        )
    makers = reads.files() if isinstance(reads, Tokenization) else source.files
    beside = _beside(makers, file, overwrite=overwrite)
    example = source.example(preparation=reads)
    fields = source.task.fields
    program = trace(student, example, card.max_length, any_size=source.task.spatial, fields=fields)
    kind, inputs, quantization = _PROGRAMS[form], preprocessing(card), None
    if isinstance(reads, Tokenization):  # the folder of the run does not travel with the file
        inputs |= {"values": token_ids(reads, example, " and ".join(makers)), "files": digests(makers)}
    with replacing(file) as partial, TemporaryDirectory() as folder:
        plain = partial if quantize is None else Path(folder) / "student.onnx"
        about = metadata(card, inputs, shipped)
        what = kind.write(program, list(named_tensors(example)), plain, about, fields)
        try:
            lines = [what, summary(inputs), _agreement(student, kind.reopen(plain), source, reads)]
            for place, field in enumerate(fields, 1):
                lines.append(_agreement(student, kind.reopen(plain, place), source, reads, field))
            if quantize is not None:
                quantization, said = quantized(plain, partial, source, card, reads, path, file, max_drop)
                lines = [*lines[:2], f"before quantization: {lines[2]}", *said]
        except (CheckError, DropError) as error:
            stays = f"; {str(file)!r} is the one that was there before" if file.exists() else ""
            raise type(error)(f"{error}{stays}") from error
    for target, text in beside.items():
        write_text(target, text)
    lines += [f"{name}, which makes its inputs, lies beside it" for name in makers]
    run = Run(path)
    if quantization is not None and path.is_dir():
        write_text(path / FILE, quantization.model_dump_json(indent=2) + "\n")
        lines.append(f"{path / FILE!s} keeps the figures")
    if run.finished and file.parent.resolve() == path.resolve():
        write_model_card(run, run.result)  # it tells how to use the files that lie beside it
    return Exported(file, tuple(lines), quantization)


def _safetensors(student: nn.Module, card: Card, shipped: Mapping[str, Any], file: Path) -> list[str]:
    inputs = preprocessing(card)
    if isinstance(student, GraftedStudent):  # only limbeck can put the graft in its place
        models.save(student, file, {**metadata_of(card), **metadata(card, inputs, shipped)})
        return [
            "the student's weights and the graft's; limbeck.load builds both around them",
            summary(inputs),
        ]
    made = models.standalone(student)
    card = card.model_copy(update={"standalone": True})
    models.save(made, file, metadata(card, inputs, shipped))
    beside = [name for name in made.state_dict() if not name.startswith(NETWORK)]
    what = f"the student's weights below {NETWORK!r}" + (f", beside {', '.join(beside)}" if beside else "")
    return [f"{what}; limbeck.load builds the network around them", summary(inputs)]


def _repdistiller(student: nn.Module, card: Card, shipped: Mapping[str, Any], file: Path) -> list[str]:
    if isinstance(student, GraftedStudent):
        raise LimbeckError(
            "this student answers through a graft of the teacher's classifier, which RepDistiller's networks "
            "have no place for; use the format safetensors, onnx or pt2"
        )
    name, normalization = save_checkpoint(student, file), models.normalization_of(student)
    lines = [f"a checkpoint of {name}, {{'model': state_dict}}"]
    if normalization is not None:
        lines.append(f"it takes images that were normalized before: {normalization.summary}")
    return lines


def _agreement(
    student: nn.Module,
    answer: Callable[[Inputs], Tensor],
    source: Source,
    reads: Preparation,
    field: str | None = None,
) -> str:
    """That a program answers as the student does, on some of the data; `field` is an output of its own."""
    name, split = _checked_on(source)
    found = check(student, answer, split, source.task, reads, field=field)
    if field is not None:
        return f"its {field} differ from the student's by {found.difference:.1e} at most"
    return found.summary(f"the {name} split of {source.name}")


def _folder(
    path: Path, student: nn.Module, card: Card, source: Source, reads: Preparation, folder: Path
) -> list[str]:
    """Writes the folder of the format hf, and its card if there is a run."""
    name, split = _checked_on(source)
    with hf.replacing_folder(folder) as partial:
        lines = hf.write(student, card, reads, source.files, partial)
        hf.check_tokens(partial, source.train, reads, source.example(32, reads))
        agreement = check(student, hf.reopen(partial, card), split, source.task, reads, tolerance=1e-5)
        run = Run(path)
        if run.finished:
            write_text(partial / "README.md", model_card(run, run.result, hub=True))
    return [*lines, agreement.summary(f"the {name} split of {source.name}")]


def _checked_on(source: Source) -> tuple[str, Split]:
    """The split that an exported file is checked on, and its name."""
    splits = {"test": source.test, "validation": source.validation, "training": source.train}
    name, split = next((name, split) for name, split in splits.items() if split is not None)
    decides = source.task.one_row_per_sample and source.task.scores == "classes"
    most = MOST if decides else FEW
    return name, split.select(spread(len(split), most))


_COPIES: Mapping[str, Callable[[nn.Module, Card, Mapping[str, Any], Path], list[str]]] = {
    "safetensors": _safetensors,
    "repdistiller": _repdistiller,
}
_PROGRAMS: Mapping[str, ModuleType] = {"onnx": onnx, "pt2": pt2}

FORMATS: Mapping[str, str] = {
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "pt2": ".pt2",
    "repdistiller": ".pth",
    "hf": "-hf",
}
"""The formats, and what follows `student` in the name of a file (of hf, a folder) without a name."""


def _free(path: Path, out: Path | str | None, suffix: str, *, overwrite: bool, folder: bool) -> Path:
    """The file to write; refuses one that is not ours to replace."""
    own = path / "student.safetensors" if path.is_dir() else path
    file = own.with_name(f"student{suffix}") if out is None else Path(out)
    if folder and file.is_file():
        raise LimbeckError(f"{str(file)!r} is a file; out (--out) names the folder to write")
    if folder and file.is_dir() and not (file / "config.json").is_file() and any(file.iterdir()):
        raise LimbeckError(f"{str(file)!r} holds files that are no model; choose another out (--out)")
    if not folder and file.is_dir():
        raise LimbeckError(f"{str(file)!r} is a directory; out (--out) names the file to write")
    if file.resolve() == own.resolve():
        raise LimbeckError(f"{str(file)!r} is the run's own file; name another with out (--out)")
    if file.exists() and not overwrite:
        raise LimbeckError(
            f"{str(file)!r} exists; say overwrite=True (--overwrite) or choose another out (--out)"
        )
    return file


def _source(path: Path, card: Card, data: str | Source | None, data_dir: Path | None) -> Source:
    """What the check is made on."""
    if data is None:
        source = Run(path).data(data_dir)
    else:
        source = data if isinstance(data, Source) else sources.load(data, data_dir, Run(path).tokens)
    check_files(path, "student", source)
    found = sample_shape(source.example(1, preparations.preparation_of(card, path)))
    if card.tokenizer is None and found != card.input_shape:
        raise LimbeckError(
            f"the student takes inputs of shape {card.input_shape}, and those of {source.name} are {found}"
        )
    return source


def _beside(makers: Mapping[str, str], file: Path, *, overwrite: bool) -> dict[Path, str]:
    """What makes the inputs and does not lie beside the file yet, by where it goes."""
    missing = {}
    for name, text in makers.items():
        target = file.with_name(name)
        if target.exists() and target.read_bytes() == text.encode():
            continue
        if target.exists() and not overwrite:
            raise LimbeckError(
                f"{str(target)!r} exists and is another one than the student's; say overwrite=True "
                "(--overwrite) or choose another out (--out)"
            )
        missing[target] = text
    return missing
