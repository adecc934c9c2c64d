"""The cache of a language model against its teacher, asked anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import Command

import limbeck
from language_models import CHAT, llama, tokens, write_rows, write_stories
from limbeck.errors import LimbeckError
from limbeck.runs.arguments import RunArguments
from limbeck.runs.filling import fill
from limbeck.runs.verifying import TOLERANCE, verify
from limbeck.teachers.ranks import Ranks

pytest.importorskip("transformers", reason="transformers is not installed")
SETTINGS = {"training.precision": "fp32", "teacher.top": 16}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("language")
    teacher = f"hf:{llama(folder / 'llama')}"
    data = f'language(path="{write_stories(folder)}", separator="\\n\\n", block=16)'
    return {"teacher": teacher, "data": data, "batch_size": 8, "settings": SETTINGS}


def test_a_cache_says_what_its_teacher_does(given: dict[str, Any]) -> None:
    states = [*fill(**given)]
    found = verify(RunArguments(**{**given, "batch_size": 5}))
    source = limbeck.data.load(given["data"], tokens=lambda: tokens())
    learned = int((source.train.targets >= 0).sum())
    assert found.samples == found.of == states[-1].samples == len(source.train)
    assert found.compared + found.beyond == learned
    assert found.compared > 0
    assert found.beyond > 0  # of 300 tokens 16 are told apart
    assert 0 < found.mean <= found.largest < 0.02
    assert found.wrong == 0


def test_a_cache_of_something_else_is_wrong(
    given: dict[str, Any], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, own = Ranks._packed, {**SETTINGS, "teacher.top": 48}  # a cache of its own
    given = {**given, "settings": own}
    with monkeypatch.context() as patched:
        # The most probable tokens of half of the positions are said to be less so.
        patched.setattr(Ranks, "_packed", lambda self, logits: packed(self, _flatter(logits)))
        [*fill(**given)]
    found = verify(RunArguments(**given))
    assert found.largest > 0.5
    assert found.wrong > 10
    settings = [each for name, value in own.items() for each in ("--set", f"{name}={value}")]
    options = ("--teacher", given["teacher"], "--data", given["data"], "--batch-size", "8", *settings)
    said = command("cache", "verify", *options)
    assert said.code == 2
    assert "difference in nats: at most " in said.out
    assert f"the cache gives {found.wrong:,} tokens another log-probability than its teacher" in said.err


def _flatter(logits: Any) -> Any:
    changed = logits.clone()
    changed[::2] *= 0.2
    return changed


def test_a_cache_of_another_template_has_no_answer(tmp_path: Path) -> None:
    rows = [{"prompt": f"Who is {n}?", "response": f"Tim saw {n}."} for n in range(30)]
    file = write_rows(tmp_path / "pairs.jsonl", rows)
    first = llama(tmp_path / "first", reads=tokens(CHAT))
    given: dict[str, Any] = {
        "data": f'language(path="{file}", chat=true)',
        "settings": {**SETTINGS, "teacher.top": 32},
    }
    [*fill(teacher=f"hf:{first}", **given)]
    assert verify(RunArguments(teacher=f"hf:{first}", **given)).wrong == 0
    other = llama(tmp_path / "other", reads=tokens(CHAT.replace("<|", "[")))
    with pytest.raises(
        LimbeckError, match="no answer about these samples; it is of another teacher, tokenizer"
    ):
        verify(RunArguments(teacher=f"hf:{other}", **given))


def test_each_precision_has_a_tolerance() -> None:
    assert TOLERANCE.keys() == {"fp32", "fp16", "bf16"}
    assert TOLERANCE["fp32"] < TOLERANCE["fp16"] < TOLERANCE["bf16"], "as they are precise"


def test_other_tasks_are_compared_by_checksums_alone(command: Command) -> None:
    said = command("cache", "verify", "--data", "digits")
    assert (said.code, "name it, too (--teacher)" in said.err) == (2, True)
