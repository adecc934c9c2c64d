"""The page of the benchmark of language models."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.language.settings import FINE_TUNING, SETTINGS
from limbeck.studies import paired_difference, summarize

COLUMNS = (
    "contender",
    "objective",
    "perplexity",
    "- fine-tuning",
    "KL",
    "agreement",
    "own NLL",
    "tokens/s",
    "teacher forwards",
    "seeds",
)


def readme(results: Mapping[str, Any]) -> str:
    """The results as Markdown.

    Args:
        results: figures by setting; of the cells by contender and seed.
    """
    lines = [
        "# Language models",
        "",
        "Printed by `make bench-language`, that is `python -m benchmarks.language.run --gguf FILE`, from",
        f"results.json. Machine: {platform.machine()}, 1 thread, torch {torch.__version__}, float32.",
        "",
        "All contenders of a setting take as many steps of as many texts, from the same weights, and the",
        "last epoch is reported; nothing was chosen on the test split. Mean and standard deviation over the",
        "seeds, and the mean difference of perplexity to fine-tuning on the same seeds with its 95 %",
        "Student-t interval.",
        "KL is KL(teacher, student) in nats a token and agreement the share of tokens of which both hold the",
        "same one for the most probable, on the test texts. Own NLL is the negative log-likelihood, by the",
        "teacher, of what a student draws after test prompts at temperature 1. Tokens a second are those of",
        "the training texts. Teacher forwards are the share of the texts seen that its network was shown: 0",
        "where the answers came from the cache, which the first run with it has filled.",
    ]
    for name, found in results.items():
        if found["teacher"] is not None:
            lines += ["", *section(name, found)]
    return "\n".join(lines) + "\n"


def section(name: str, found: Mapping[str, Any]) -> list[str]:
    """The table of one setting."""
    setting, teacher = SETTINGS[name], found["teacher"]
    cells = {each: by_seed for each, by_seed in found["cells"].items() if by_seed}
    some = next(iter(cells[FINE_TUNING].values()))
    return [
        f"## {setting.title}",
        "",
        f"The teacher has {teacher['parameters']:,} parameters and a perplexity of",
        f"{teacher['perplexity']:.2f}; its own NLL is {teacher['own_nll']:.2f}. The student has",
        f"{some['parameters']:,}. Each contender takes {some['steps']:,} steps.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(row(contender, setting.contenders[contender].objective, cells) for contender in cells),
    ]


def row(contender: str, objective: str, cells: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The row of one contender."""

    def over_seeds(figure: str, scale: float = 1.0) -> str:
        return str(summarize([scale * each[figure] for each in cells[contender].values()]))

    values = {
        name: {int(seed): each["perplexity"] for seed, each in cells[name].items()}
        for name in (contender, FINE_TUNING)
    }
    asked = [each["teacher_forwards"] / each["samples"] for each in cells[contender].values()]
    rate = summarize([each["tokens_per_second"] for each in cells[contender].values()]).mean
    figures = [
        contender,
        f"`{objective}`",
        over_seeds("perplexity"),
        "" if contender == FINE_TUNING else str(paired_difference(values[contender], values[FINE_TUNING])),
        over_seeds("kl"),
        f"{over_seeds('agreement', 100)} %",
        over_seeds("own_nll"),
        f"{rate:,.0f}",
        " / ".join(f"{share:.2f}" for share in sorted(set(asked), reverse=True)),
        str(len(values[contender])),
    ]
    return f"| {' | '.join(figures)} |"
