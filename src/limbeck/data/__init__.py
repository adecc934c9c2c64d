"""Sources, views and loaders. `SOURCES` is the table of the data sets that limbeck knows by name.

Another package adds its own through the entry-point group `limbeck.data` (name = "module:function"); the
function returns a `Source`.
"""

from __future__ import annotations

from limbeck.optional import need

need("limbeck.data", "data")

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import getdoc, signature
from pathlib import Path

from limbeck import tasks
from limbeck.data.build import from_dataset, from_tensors
from limbeck.data.digits import digits
from limbeck.data.files.detection import from_detection
from limbeck.data.files.embedding.named import (
    cranfield,
    from_collection,
    from_pairs,
    from_sentences,
    from_similarity,
    stsbenchmark,
)
from limbeck.data.files.images import from_images
from limbeck.data.files.restoration import from_restoration
from limbeck.data.files.segmentation import from_segmentation
from limbeck.data.files.table import breast_cancer, diabetes, from_table, iris, linnerud, wine
from limbeck.data.files.tagged import from_tagged
from limbeck.data.files.text import banking77, from_text
from limbeck.data.files.tokens import encode, encode_words
from limbeck.data.language.source import from_language
from limbeck.data.loader import Loader
from limbeck.data.public import cifar10, cifar100, fashion_mnist, stl10, tiny_imagenet
from limbeck.data.registry import construct
from limbeck.data.source import Source
from limbeck.data.split import Split
from limbeck.data.synthetic.digits import synthetic_digits
from limbeck.data.tokenization import Tokenization
from limbeck.data.views import Views, draw
from limbeck.data.wrappers import imbalanced, noisy_labels
from limbeck.errors import LimbeckError
from limbeck.notation import Call, Value, parse_call
from limbeck.plugins import builders

__all__ = [
    "SOURCES",
    "Entry",
    "Loader",
    "Source",
    "Split",
    "Views",
    "draw",
    "encode",
    "encode_words",
    "from_collection",
    "from_dataset",
    "from_detection",
    "from_images",
    "from_language",
    "from_pairs",
    "from_restoration",
    "from_segmentation",
    "from_sentences",
    "from_similarity",
    "from_table",
    "from_tagged",
    "from_tensors",
    "from_text",
    "imbalanced",
    "load",
    "noisy_labels",
    "spelled_out",
    "table",
]


@dataclass(frozen=True)
class Entry:
    """A data set that has a name: what makes it, one line about it, and where it comes from."""

    make: Callable[..., Source]
    summary: str
    source: str


FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".txt")
"""Endings of files that somebody may name in place of a data set."""

SOURCES: Mapping[str, Entry] = {
    "banking77": Entry(
        banking77, "13,083 questions to a bank, 77 intents", "Casanueva et al. 2020, arXiv:2003.04807"
    ),
    "breast_cancer": Entry(
        breast_cancer, "569 tumors in 30 numbers; no download", "Wolberg et al., UCI 1995"
    ),
    "cifar10": Entry(cifar10, "60,000 photographs, 32 x 32, 10 classes", "Krizhevsky 2009"),
    "cifar100": Entry(cifar100, "60,000 photographs, 32 x 32, 100 classes", "Krizhevsky 2009"),
    "cranfield": Entry(
        cranfield, "1,400 abstracts and 225 queries with judgments, for retrieval", "Cleverdon 1967"
    ),
    "detection": Entry(
        from_detection, "images with boxes", "folders of images with COCO JSON, VOC XML or YOLO text"
    ),
    "diabetes": Entry(
        diabetes, "442 patients in 10 numbers, for regression; no download", "Efron et al. 2004"
    ),
    "digits": Entry(
        digits, "1,797 scans of handwritten digits, 8 x 8; no download", "Alpaydin & Kaynak, UCI 1998"
    ),
    "fashion_mnist": Entry(
        fashion_mnist, "70,000 pictures of clothes in gray, 28 x 28", "Xiao et al. 2017, arXiv:1708.07747"
    ),
    "images": Entry(
        from_images, "any images with labels", "folders, Parquet, CSV, JSON or Arrow, or the hub"
    ),
    "imbalanced": Entry(
        imbalanced,
        "any data set, with training classes of unequal size: imbalanced(digits, ratio=20)",
        "Cui et al. 2019, arXiv:1901.05555; Buda et al. 2018, arXiv:1710.05381",
    ),
    "iris": Entry(iris, "150 flowers of 3 species in 4 numbers; no download", "Fisher 1936"),
    "language": Entry(
        from_language,
        "any texts, prompts with responses, or chats, for language models",
        "plain text, CSV, JSON or Parquet, or the hub",
    ),
    "linnerud": Entry(
        linnerud, "20 men in 3 numbers, for regression of 3 others; no download", "Tenenhaus 1998"
    ),
    "noisy_labels": Entry(
        noisy_labels,
        "any data set, with wrong training labels: noisy_labels(digits, rate=0.4)",
        "Han et al. 2018, arXiv:1804.06872",
    ),
    "pairs": Entry(
        from_pairs,
        "pairs of a query and its answer, with or without negatives",
        "CSV, JSON or Parquet, or the hub",
    ),
    "restoration": Entry(
        from_restoration,
        "images and the smaller ones that they are restored from, for super-resolution",
        "folders of images, which are scaled down bicubically, or of pairs",
    ),
    "retrieval": Entry(
        from_collection,
        "queries, documents and judgments",
        "folders in the layout of BEIR, TREC judgments and runs",
    ),
    "sentences": Entry(
        from_sentences,
        "sentences without labels, for a teacher's embeddings",
        "CSV, JSON or Parquet, or the hub",
    ),
    "similarity": Entry(
        from_similarity, "pairs of sentences with a score", "CSV, JSON or Parquet, or the hub"
    ),
    "segmentation": Entry(
        from_segmentation, "images with a mask each", "folders of images and PNG masks with the same names"
    ),
    "stl10": Entry(stl10, "13,000 photographs, 96 x 96, 10 classes", "Coates et al., AISTATS 2011"),
    "stsbenchmark": Entry(
        stsbenchmark, "8,628 pairs of sentences with a score", "Cer et al. 2017, arXiv:1708.00055"
    ),
    "synthetic_digits": Entry(
        synthetic_digits,
        "images of the class number in handwritten digits, for as many classes as you like; no download",
        "after Liu et al. 2020, arXiv:2005.09163",
    ),
    "table": Entry(
        from_table, "any table of numbers with columns of labels", "CSV, JSON or Parquet, or the hub"
    ),
    "tagged": Entry(from_tagged, "sentences with a tag for each word", "CoNLL, JSON or Parquet, or the hub"),
    "text": Entry(from_text, "any texts with columns of labels", "CSV, JSON or Parquet, or the hub"),
    "tiny_imagenet": Entry(
        tiny_imagenet, "110,000 photographs, 64 x 64, 200 classes", "Le & Yang, Stanford CS 231N 2015"
    ),
    "wine": Entry(
        wine, "178 wines from 3 growers in 13 numbers; no download", "Aeberhard & Forina, UCI 1991"
    ),
}


def table() -> Mapping[str, Entry]:
    """Every data set by its name: limbeck's own, and those of installed packages after them."""
    others = {
        name: Entry(make, (getdoc(make) or "no description").partition("\n")[0], make.__module__)
        for name, make in builders("data").items()
        if name not in SOURCES
    }
    return {**SOURCES, **others}


def spelled_out(data: str, task: str | None) -> str:
    """The text of a data set for a task that is named beside it, as by `--task` on the command line.

    Args:
        data: a name of `table()`, with arguments or without; for the task language also a file, a directory
            or the name of a data set on the hub.
        task: the name of a task; None for what the text says.
    Raises:
        LimbeckError: for a task that the data set is not for, or that its text names too.
    """
    if task is None:
        return data
    meant = tasks.named(task).name
    name = data.partition("(")[0].replace("-", "_")
    if name not in table():
        if meant == "language":
            return str(Call("language", kwargs={"path": data}))
        raise LimbeckError(
            f"{data!r} is no data set that limbeck knows; say what it holds, "
            f'table(path="{data}", task="{task}"), or text(...), or images(...)'
        )
    if name == meant:
        return data
    call = parse_call(name + data[len(name) :], "data set")
    if "task" in call.kwargs:
        raise LimbeckError(f"{data} names its task itself; leave out task={task} (--task)")
    if meant == "language":
        raise LimbeckError(f"the data set {name} is not for the task {meant}; leave out the task (--task)")
    if "task" not in signature(table()[name].make).parameters:
        raise LimbeckError(f"the data set {name} is for one task alone; leave out the task (--task)")
    return str(replace(call, kwargs={**call.kwargs, "task": task}))


def load(
    spec: str,
    data_dir: Path | str | None = None,
    tokens: Callable[[], Tokenization | None] | None = None,
    **arguments: Value,
) -> Source:
    """The data set that a text in the notation names, for example `"digits(labeled=100, seed=0)"`.

    Some are made of another one: `"noisy_labels(digits(labeled=100), rate=0.4)"`.

    Args:
        spec: a name of `table()`, with arguments where the data set has any; `-` in a name is `_`.
        data_dir: where files lie, for data sets that are read from files.
        tokens: a function that gives the tokenizer that a network brings, for texts of language models.
        arguments: arguments of the data set, beside those in the text.
    Raises:
        LimbeckError: for an unknown name or argument (names the nearest right one) or a value out of range.
    """
    makers = {name: entry.make for name, entry in table().items()}
    if Path(spec).suffix in FILES and "(" not in spec:
        raise LimbeckError(
            f"{spec!r} is no data set that limbeck knows; say what the file holds, "
            f'table(path="{spec}", label="COLUMN"), text(...) or images(...); texts for a language model are '
            f'language(path="{spec}")'
        )
    name, parenthesis, rest = spec.partition("(")
    call = parse_call(name.replace("-", "_") + parenthesis + rest, "data set")
    for argument in call.kwargs.keys() & arguments.keys():
        raise LimbeckError(f"the argument {argument} of {call.name} is given twice")
    call = replace(call, kwargs={**call.kwargs, **arguments})
    facts: dict[str, object] = {"data_dir": None if data_dir is None else Path(data_dir)}
    if makers.get(call.name) is from_language:
        facts["tokens"] = None if tokens is None else tokens()
    source = construct(call, makers, "data set", **facts)
    if not isinstance(source, Source):
        raise LimbeckError(
            f"the entry point {call.name!r} of limbeck.data returned {type(source).__name__}, not a Source"
        )
    return source
