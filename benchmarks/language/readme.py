"""The page of the benchmark of language models."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.language.settings import FINE_TUNING, SETTINGS
from benchmarks.speed.machine import sentence
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


def readme(results: Mapping[str, Any], memory: Mapping[str, Any]) -> str:
    """The results as Markdown.

    Args:
        results: figures by setting: of the teacher, and of the cells by contender and seed.
        memory: figures of `benchmarks.language.memory`.
    """
    lines = [
        "# Language models",
        "",
        "Printed by `make bench-language`, that is `python -m benchmarks.language.run --gguf FILE` and",
        "`python -m benchmarks.language.memory --gguf FILE`, from results.json and memory.json. All was",
        "computed in float32 by 1 thread of a CPU.",
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
        lines += ["", *section(name, found)]
    return "\n".join([*lines, *chunks(memory)]) + "\n"


def chunks(memory: Mapping[str, Any]) -> list[str]:
    """What chunks of logits save, and what a step with a cached teacher costs."""
    lines: list[str] = []
    if head := memory.get("head"):
        tokens, words, width = head["of"]["shape"]
        peaks = {way: statistics.median(each) / 2**20 for way, each in head["extra_peak"].items()}
        seconds = {way: statistics.median(each) for way, each in head["seconds"].items()}
        lines += [
            "",
            "## Memory and time of the head",
            "",
            f"`{head['of']['objective']}`, value and gradient, for {tokens:,} tokens of a vocabulary of",
            f"{words:,} from hidden states of {width}. Medians. Machine: {sentence(head['machine'])}.",
            "",
            "| logits | extra peak | seconds |",
            "|---|---|---|",
            *(f"| {way} | {peaks[way]:,.0f} MiB | {seconds[way]:.2f} |" for way in peaks),
            f"| ratio | {head['peak_ratio']:.2f} | {head['time_ratio']:.2f} |",
        ]
    if step := memory.get("step"):
        seconds = {way: statistics.median(each) for way, each in step["seconds"].items()}
        lines += [
            "",
            f"A step of `{step['of']['student']}` on {step['tokens']:,} tokens takes "
            f"{seconds['fine-tuning']:.2f} s",
            f"for fine-tuning and {seconds['cached']:.2f} s with the teacher's answers read from the cache,",
            f"{step['time_ratio']:.2f} times as long; the teacher's network was shown {step['shown']} texts.",
        ]
    return lines


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
