"""What language models score on the tasks of lm-eval, the evaluation harness of EleutherAI."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.data import Source
from limbeck.errors import LimbeckError, unknown
from limbeck.evaluation import Contender
from limbeck.evaluation.measure import inference
from limbeck.evaluation.results import Role, TaskScore
from limbeck.models import GPT
from limbeck.optional import imported
from limbeck.runs.exports.llama import as_llama, is_llama
from limbeck.tasks import Language

EXTRA = "lm-eval"
BATCH = 8
RESAMPLES = 1000
"""Bootstrap samples of the standard error of a metric that is no mean over documents."""


class Harness:
    """Tasks of lm-eval, loaded with their data.

    Args:
        names: of tasks and groups that lm-eval brings, and YAML files of others.
        limit: documents of a task at most; None for all.
        source: the data, in whose tokens all networks read that bring no others.
        contenders: the networks, by role.
    Raises:
        LimbeckError: without lm-eval, for a run that is no language model, an unknown name, a task that
            cannot be loaded, such as one whose data cannot be fetched, and a network that has no counterpart
            in transformers.
    """

    def __init__(
        self, names: Sequence[str], limit: int | None, source: Source, contenders: Mapping[Role, Contender]
    ) -> None:
        if not isinstance(source.task, Language):
            raise LimbeckError(
                f"lm-eval scores language models, and {source.name} is for {source.task.name}; leave out "
                "lm_eval (--lm-eval)"
            )
        if not names or not all(names):
            raise LimbeckError("lm-eval needs the name of a task, such as arc_easy, or a YAML file of one")
        if limit is not None and limit < 1:
            raise LimbeckError(f"lm-eval needs at least 1 document of a task, not {limit}")
        package = imported("lm_eval", EXTRA)
        self._names, self._limit, self._source, self._contenders = list(names), limit, source, contenders
        self._manager = imported("lm_eval.tasks", EXTRA).TaskManager()
        self._score = package.simple_evaluate
        self._model = imported("lm_eval.models.huggingface", EXTRA).HFLM
        for name in self._names:
            self._check(name)
        for role, each in contenders.items():
            counterpart(each.network, role)

    def _check(self, name: str) -> None:
        if Path(name).suffix in (".yaml", ".yml"):
            if not Path(name).is_file():
                raise LimbeckError(f"there is no file {name!r} with a task of lm-eval")
        elif name not in self._manager.all_tasks:
            raise unknown("task of lm-eval", name, self._manager.all_tasks)
        try:
            with _quiet():
                self._manager.load([name])
        except Exception as error:  # whatever data sets and code of others raise
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LimbeckError(f"lm-eval cannot load the task {name!r}: {said}") from error

    def scores(self) -> tuple[TaskScore, ...]:
        """The scores of the networks, each asked with its own tokenizer."""
        found = {role: self._of(role, each) for role, each in self._contenders.items()}
        first = next(iter(found.values()))
        scores = []
        for task, figures in first["results"].items():
            for key in figures:
                metric, _, filtered = key.partition(",")
                if not filtered or metric.endswith("_stderr"):
                    continue
                values = {role: each["results"][task][key] for role, each in found.items()}
                errors = {
                    role: each["results"][task].get(f"{metric}_stderr,{filtered}")
                    for role, each in found.items()
                }
                scores.append(
                    TaskScore(
                        task=task,
                        metric=metric if filtered == "none" else f"{metric}, {filtered}",
                        samples=first["n-samples"].get(task, {}).get("effective"),
                        values={role: float(value) for role, value in values.items()},
                        errors={
                            role: float(value) for role, value in errors.items() if isinstance(value, float)
                        },
                    )
                )
        return tuple(scores)

    def _of(self, role: Role, contender: Contender) -> Mapping[str, Any]:
        """What lm-eval says of one network, whose modes and whose tokenizer stay as they are."""
        network, source = counterpart(contender.network, role), contender.told or self._source
        assert source.tokens is not None
        with inference(network), _quiet(), torch.random.fork_rng():
            model = self._model(
                pretrained=network, tokenizer=copy.deepcopy(source.tokens.tokenizer), batch_size=BATCH
            )
            found: Mapping[str, Any] = self._score(
                model=model,
                tasks=self._names,
                limit=self._limit,
                task_manager=self._manager,
                bootstrap_iters=RESAMPLES,
                log_samples=False,
            )
        return found


def counterpart(network: nn.Module, role: str) -> nn.Module:
    """The network of transformers that a language model is, or that computes the same.

    Args:
        network: a language model.
        role: what it is, for messages.
    Raises:
        LimbeckError: if there is none.
    """
    brings: bool = isinstance(network, imported("transformers", EXTRA).PreTrainedModel)
    if not brings and not (isinstance(network, GPT) and is_llama(network)):
        raise LimbeckError(
            f"lm-eval scores networks of transformers, and the {role} is {type(network).__name__}; give a "
            "network of hf:..., or a gpt with rotary positions, RMSNorm and SwiGLU as it is by default"
        )
    return as_llama(network).to(next(network.parameters()).device) if isinstance(network, GPT) else network


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps lm-eval from notes below an error."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
