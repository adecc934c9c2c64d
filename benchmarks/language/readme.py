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
    "perplexity, validation",
    "- fine-tuning",
    "perplexity, test",
    "- fine-tuning",
    "KL",
    "agreement",
    "own NLL",
    "tokens/s",
    "teacher forwards",
    "seeds",
)


def readme(results: Mapping[str, Any], memory: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """The results as Markdown.

    Args:
        results: figures by setting: of the teacher, and of the cells by contender and seed.
        memory: figures of `benchmarks.language.memory`.
        peers: figures of `benchmarks.language.peers`.
    """
    lines = [
        "# Language models",
        "",
        "Printed by `make bench-language`, that is `python -m benchmarks.language.run --gguf FILE` and",
        "`python -m benchmarks.language.memory --gguf FILE`, from results.json and memory.json. All was",
        "computed in float32 by 1 thread of a CPU.",
        "",
        "All contenders of a setting take as many steps of as many texts, from the same weights, and the",
        "last epoch is reported; nothing was chosen on either held-out split. Mean and standard deviation",
        "over the seeds, and the mean difference of perplexity to fine-tuning on the same seeds with its",
        "95 % Student-t interval. Of E2E NLG, the validation split has held-out prompts of the development",
        "set, whose other prompts are learned from; the test split is its test set, which names restaurants",
        "and kinds of food that no training text has, so every perplexity there is several times as large.",
        "KL is KL(teacher, student) in nats a token and agreement the share of tokens of which both hold the",
        "same one for the most probable, on the test texts. Own NLL is the negative log-likelihood, by the",
        "teacher, of what a student draws after test prompts at temperature 1. Tokens a second are those of",
        "the training texts. Teacher forwards are the share of the texts seen that its network was shown: 0",
        "where the answers came from the cache, which the first run with it has filled.",
    ]
    for name, found in results.items():
        lines += ["", *section(name, found)]
    return "\n".join([*lines, *chunks(memory), *beside(peers)]) + "\n"


def beside(peers: Mapping[str, Any]) -> list[str]:
    """Speed and memory of a step, beside other packages."""
    if not (step := peers.get("step")):
        return []
    size, versions = step["of"], step["versions"]
    seconds = {name: statistics.median(each) for name, each in step["seconds"].items()}
    rows = [
        f"| {name} | {seconds[name]:.2f} | {step['tokens'][name] / seconds[name]:,.0f} "
        f"| {peaks['step'] / 2**20:,.0f} | {peaks['process'] / 2**20:,.0f} | {step['losses'][name]:.5f} |"
        for name, peaks in step["peaks"].items()
    ]
    teacher, student = (f"{step['parameters'][name]:,}" for name in ("teacher", "student"))
    return [
        "",
        "## Beside trl and transformers",
        "",
        "Printed by `make bench-language-peers`. A Llama of",
        f"{student} parameters learns from one of {teacher}, in steps of {size['batch']} blocks",
        f"of {size['block']} tokens, by AdamW in float32 and by 1 thread: with trl {versions['trl']} and",
        f"transformers {versions['transformers']}. Medians of {size['rounds']} steps; the contenders take",
        "turns in one process. What learns from the teacher minimizes",
        f"`{size['divergence']}`. On-policy steps begin with {size['length']} tokens",
        "that the student writes for each text, and those are the tokens that are counted. Memory is the",
        "most that a process of its own takes: in a step, beyond what it has between two, and in all, with",
        "its packages and texts. Equal first losses say that packages compute the same; on-policy, trl",
        "divides by the tokens of the data (`num_items_in_batch`), twice as many as were written.",
        "The loss from the cache leaves out how the tokens beyond the 64 most probable differ. Machine:",
        f"{sentence(step['machine'])}.",
        "",
        "| by, learns from | seconds | tokens/s | MiB in a step | MiB in all | first loss |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


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
        f"{teacher['validation_perplexity']:.2f} on the validation split and {teacher['perplexity']:.2f} on",
        f"the test split; its own NLL is {teacher['own_nll']:.2f}. The student has {some['parameters']:,}",
        f"parameters. Each contender takes {some['steps']:,} steps.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(row(contender, setting.contenders[contender].objective, cells) for contender in cells),
    ]


def row(contender: str, objective: str, cells: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The row of one contender."""

    def over_seeds(figure: str, scale: float = 1.0) -> str:
        return str(summarize([scale * each[figure] for each in cells[contender].values()]))

    def held_out(figure: str) -> tuple[str, str]:
        """A perplexity, and its difference to that of fine-tuning."""
        values, alone = (
            {int(seed): each[figure] for seed, each in cells[name].items()}
            for name in (contender, FINE_TUNING)
        )
        return over_seeds(figure), "" if contender == FINE_TUNING else str(paired_difference(values, alone))

    asked = [each["teacher_forwards"] / each["samples"] for each in cells[contender].values()]
    rate = summarize([each["tokens_per_second"] for each in cells[contender].values()]).mean
    figures = [
        contender,
        f"`{objective}`",
        *held_out("validation_perplexity"),
        *held_out("perplexity"),
        over_seeds("kl"),
        f"{over_seeds('agreement', 100)} %",
        over_seeds("own_nll"),
        f"{rate:,.0f}",
        " / ".join(f"{share:.2f}" for share in sorted(set(asked), reverse=True)),
        str(len(cells[contender])),
    ]
    return f"| {' | '.join(figures)} |"
