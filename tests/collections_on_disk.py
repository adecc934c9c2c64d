"""Small collections in the layout of BEIR: queries that ask for the words of a document."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from pretrained_folders import KINDS

WORDS = [word for words in KINDS.values() for word in words]


def write_lines(file: Path, records: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def write_judgments(file: Path, judgments: Sequence[tuple[str, str, int]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in judgments)
    file.write_text(f"query-id\tcorpus-id\tscore\n{lines}")


def collection(
    folder: Path,
    *,
    documents: int = 40,
    queries: int = 24,
    splits: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Path:
    """A collection whose query q asks for two words of document q, which is relevant to it.

    Args:
        splits: how many of the queries the file of each split has; all in one file if None.
    """
    draw = random.Random(seed)
    texts = [" ".join(draw.sample(WORDS, 6)) for _ in range(documents)]
    write_lines(
        folder / "corpus.jsonl",
        [{"_id": f"d{number}", "title": "", "text": text} for number, text in enumerate(texts)],
    )
    write_lines(
        folder / "queries.jsonl",
        [{"_id": f"q{number}", "text": " ".join(texts[number].split()[:2])} for number in range(queries)],
    )
    judged = [(f"q{number}", f"d{number}", 1) for number in range(queries)]
    start = 0
    for split, count in (splits or {"qrels": queries}).items():
        write_judgments(folder / "qrels" / f"{split}.tsv", judged[start : start + count])
        start += count
    return folder
