"""The page of the benchmark of sentence encoders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.embeddings.contenders import BATCH, LENGTH, METHODS
from benchmarks.ledger import Ledger
from limbeck.files import write_text
from limbeck.studies import paired_difference, summarize

Cells: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Figures by method and seed."""


def write_page(folder: Path) -> None:
    """Writes README.md from results.json and peers.json, as far as they are there."""
    results, peers = (Ledger(folder / f"{name}.json").found for name in ("results", "peers"))
    if "students" in results:
        write_text(folder / "README.md", readme(results, peers))


def readme(results: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """The results as Markdown.

    Args:
        results: as `benchmarks.embeddings.run` writes them.
        peers: as `benchmarks.embeddings.peers` writes them; empty before it has run.
    """
    teacher, texts = results["teacher"], results["texts"]
    train, held_out, test = (texts[f"{which} queries"] for which in ("train", "validation", "test"))
    lines = [
        "# Small sentence encoders",
        "",
        "Printed by `make bench-embeddings`, that is `python -m benchmarks.embeddings.run --encoder FOLDER`,",
        f"from results.json. Machine: {results['machine']['name']}.",
        "",
        f"The teacher is all-MiniLM-L6-v2 as it is published, {teacher['parameters']:,} parameters.",
        f"Transformers read the first {LENGTH} tokens of a text, the table all. Students learn from the",
        f"teacher's embeddings of {train} queries and {texts['documents']:,} documents of",
        f"Cranfield and of {texts['sentences']:,} training sentences of STS-B, without their scores. The",
        "student alone learns from the judgments of the training queries by `contrastive` in as many steps.",
        "",
        f"nDCG@10 is over {test} test queries of Cranfield, each searched for in all documents;",
        f"Spearman's correlation is over the {texts['test pairs']:,} test pairs of STS-B. Both are in %,",
        'mean and standard deviation over the seeds. "kept" is the share of the teacher\'s nDCG@10, and',
        '"- alone" the mean difference in it on the same seeds to the student alone, with its 95 % Student-t',
        "interval.",
        "A student has one budget for all methods. Arguments and weights within a method are its own",
        "defaults, and the last step is reported.",
        "",
        *budgets(results, held_out),
        "## Speed",
        "",
        "Queries become embeddings, from text, in batches of 32 and one at a time: teacher and students in",
        "turn in one process, medians over the rounds. Documents are kept in float32.",
        "",
        *speeds(results),
    ]
    for student, by_method in results["students"].items():
        lines += ["", *table(student, by_method, results)]
    if peers:
        lines += ["", *beside(peers)]
    return "\n".join(lines) + "\n"


def budgets(results: Mapping[str, Any], queries: int) -> list[str]:
    """What the budgets that were tried gave; nothing where none was."""
    if "budgets" not in results:
        return []
    rows = [
        f"What `cosine` reaches with several budgets (seed 0, {queries} validation queries):",
        "",
        "| student | budget | nDCG@10, validation |",
        "|---|---|---|",
    ]
    for student, by_budget in results["budgets"].items():
        rows += [
            f"| {student} | {budget} | {found['ndcg10_validation']:.2f} |"
            for budget, found in by_budget.items()
        ]
    return [*rows, ""]


def speeds(results: Mapping[str, Any]) -> list[str]:
    """A row for each encoder."""
    rows = [
        "| | parameters | queries per second | x teacher | ms per query | x teacher | bytes per document |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in results["speed"]["encoders"].items():
        facts = results["teacher"] if name == "teacher" else results["untrained"][name]
        cells = [
            name,
            f"{facts['parameters']:,}",
            f"{each['queries_per_second']:,.0f}",
            f"{each['times']:.1f}",
            f"{each['ms_per_query']:.3g}",
            f"{each['times_alone']:.1f}",
            f"{4 * facts['dimensions']:,}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def table(student: str, by_method: Cells, results: Mapping[str, Any]) -> list[str]:
    """The methods of one student, a row each, below the teacher and the student before training."""
    teacher, begun = results["teacher"], results["untrained"][student]
    budget = next(iter(next(iter(by_method.values())).values()))["of"]
    rows = [
        f"## {student[:1].upper()}{student[1:]}",
        "",
        f"{budget['steps']} steps of {BATCH} texts, AdamW with a rate of {budget['lr']:g}.",
        "",
        "| | objective | nDCG@10, validation | nDCG@10, test | kept | - alone | Spearman, STS-B | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in (("teacher", teacher), ("before training", begun)):
        kept = 100 * each["ndcg10_test"] / teacher["ndcg10_test"]
        rows.append(
            f"| {name} | | {each['ndcg10_validation']:.1f} | {each['ndcg10_test']:.1f} | {kept:.1f} | | "
            f"{each['spearman_test']:.1f} | |"
        )
    alone = values(by_method.get("alone", {}), "ndcg10_test")
    for method, by_seed in by_method.items():
        test = values(by_seed, "ndcg10_test")
        kept = 100 * summarize([*test.values()]).mean / teacher["ndcg10_test"]
        cells = [
            method,
            f"`{METHODS[method]}`",
            str(summarize([*values(by_seed, "ndcg10_validation").values()])),
            str(summarize([*test.values()])),
            f"{kept:.1f}",
            str(paired_difference(test, alone)) if method != "alone" and alone else "",
            str(summarize([*values(by_seed, "spearman_test").values()])),
            str(len(test)),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def beside(peers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A row for each tool."""
    rows = [
        "## Beside other tools",
        "",
        "Printed by `make bench-embeddings-peers`. Two layers learn the teacher's embeddings by their mean",
        "squared error from the same weights and texts, in as many steps of as many texts with one rate and",
        "schedule; static tables have 256 numbers a token, and are not trained. Seconds are those of a",
        "process from the texts to the written student, the teacher's embeddings included: without imports",
        "by the clock, and with them of the processor. What limbeck checks of the teacher and of the written",
        "folder is in both. Memory is the peak of the process. The contenders took turns.",
        "",
        "| student | by | nDCG@10, test | Spearman, STS-B | seconds | of the processor | MiB | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for by_seed in peers.values():
        first = next(iter(by_seed.values()))
        figures = ("ndcg10_test", "spearman_test", "seconds", "processor_seconds", "mebibytes")
        *found, memory = (summarize([*values(by_seed, figure).values()]) for figure in figures)
        cells = [first["student"], first["package"], *found, f"{memory.mean:,.0f}"]
        rows.append(f"| {' | '.join(map(str, cells))} | {len(by_seed)} |")
    return rows


def values(by_seed: Mapping[str, Mapping[str, Any]], figure: str) -> dict[int, float]:
    """One figure by seed."""
    return {int(seed): found[figure] for seed, found in by_seed.items()}
