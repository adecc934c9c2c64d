"""Files of what a language model said of each token, in the forms of tables and of APIs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from language_models import write_rows
from limbeck import LimbeckError, data
from limbeck.checks import answers_suffice
from limbeck.data import Source
from limbeck.losses import kd
from limbeck.objective import parse
from limbeck.outputs import UNLABELED, Batch
from limbeck.teachers import TokenFileTeacher

PAIRS = [("red", "a cat"), ("blue", "the dog"), ("green", "a cat")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("pairs")
    rows = [{"prompt": prompt, "response": response} for prompt, response in PAIRS]
    for split in ("train", "validation", "test"):
        write_rows(folder / f"{split}.jsonl", rows)
    return data.load(f'language(path="{folder}", vocab_size=257, block=32)')


def text(source: Source, sample: int) -> tuple[list[int], int]:
    """All tokens of a training text, and where its response begins."""
    batch = batch_of(source, [sample])
    assert not isinstance(batch.inputs, torch.Tensor)
    assert batch.targets is not None
    length = int(batch.inputs["attention_mask"].sum())
    start = 1 + int((batch.targets[0] != UNLABELED).nonzero()[0])
    return [*batch.inputs["input_ids"][0, :length].tolist(), int(batch.targets[0, length - 1])], start


def batch_of(source: Source, samples: list[int]) -> Batch:
    index = torch.tensor(samples)
    inputs = source.train.samples.take(index, torch.zeros_like(index))
    assert source.train.targets is not None
    length = inputs["input_ids"].shape[1]  # type: ignore[index]
    return Batch(inputs, source.train.targets[index, :length], index, torch.zeros_like(index))


def top_of(token: int) -> dict[int, float]:
    """What the file says of a token: itself at 0.5, the next id at 0.25; others share the rest."""
    return {token: math.log(0.5), (token + 1) % 257: math.log(0.25)}


def check(teacher: TokenFileTeacher, source: Source, sample: int, told: int | None = None) -> None:
    """Each learned token has the probabilities of `top_of`; the last `told` of them have."""
    batch = batch_of(source, [sample])
    assert batch.targets is not None
    logits, known = teacher(batch)["ranked"].map(lambda each: each[0]).dense()
    learned = (batch.targets[0] != UNLABELED).nonzero().flatten().tolist()
    for place in learned[len(learned) - told if told is not None else 0 :]:
        token = int(batch.targets[0, place])
        found = logits[place].softmax(0)
        for number, value in top_of(token).items():
            assert found[number].item() == pytest.approx(math.exp(value), abs=1e-6)
        assert known[place].nonzero().flatten().tolist() == sorted(top_of(token))
        assert found[(token + 5) % 257].item() == pytest.approx(0.25 / 255, abs=1e-6)


def table(source: Source, samples: range, *, shifted: bool = True) -> list[dict[str, Any]]:
    """Rows of a table: what follows each token."""
    rows = []
    for sample in samples:
        ids, _ = text(source, sample)
        tops = [top_of(token) for token in ids[1:]] + ([] if shifted else [top_of(0)])
        rows.append(
            {
                "input_ids": ids,
                "topk_ids": [[*each] for each in tops],
                "topk_logprobs": [[*each.values()] for each in tops],
            }
        )
    return rows


@pytest.mark.parametrize("shifted", [True, False], ids=["T - 1 positions", "T positions"])
def test_a_table_says_what_follows_each_token(source: Source, tmp_path: Path, shifted: bool) -> None:
    file = tmp_path / "top.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table(source, range(3), shifted=shifted)), file)
    teacher = TokenFileTeacher(file, source)
    for sample in range(3):
        check(teacher, source, sample)
    assert teacher.coverage.told == teacher.coverage.tokens
    assert teacher.notes == ()
    assert teacher.nll == pytest.approx(math.log(2))


def test_other_names_of_columns_and_a_response_alone(source: Source, tmp_path: Path) -> None:
    ids, start = text(source, 2)
    tops = [top_of(token) for token in ids[start:]]
    row = {
        "prompt_token_ids": ids[:start],
        "response_token_ids": ids[start:],
        "teacher_topk_indices": [[*each] for each in tops],
        "teacher_topk_logprobs": [[*each.values()] for each in tops],
    }
    teacher = TokenFileTeacher(write_rows(tmp_path / "top.jsonl", [row]), source)
    check(teacher, source, 2)
    assert (teacher.coverage.answered, teacher.coverage.samples) == (1, 3)


def chat(source: Source, sample: int, *, called: str | None, ids: bool = False) -> dict[str, Any]:
    """A response of the API of OpenAI, as its batches have it, without the end of the text."""
    assert source.tokens is not None
    tokens, start = text(source, sample)

    def named(token: int, value: float) -> dict[str, Any]:
        if ids:
            return {"token": f"token_id:{token}", "logprob": value}
        if not token:
            return {"token": source.tokens.tokenizer.eos_token, "logprob": value, "bytes": None}  # type: ignore[union-attr]
        letter = source.tokens.tokenizer.decode([token])  # type: ignore[union-attr]
        return {"token": letter, "logprob": value, "bytes": [*letter.encode()] if letter.isascii() else None}

    content = [
        {
            **named(token, math.log(0.5)),
            "top_logprobs": [named(number, value) for number, value in top_of(token).items()],
        }
        for token in tokens[start:-1]
    ]
    body = {"id": "chatcmpl-1", "choices": [{"index": 0, "logprobs": {"content": content}}]}
    return {**({"custom_id": called} if called else {}), "response": {"status_code": 200, "body": body}}


def test_responses_of_an_api(source: Source, tmp_path: Path) -> None:
    rows = [chat(source, 1, called=None, ids=True), chat(source, 2, called="2", ids=True)]
    teacher = TokenFileTeacher(write_rows(tmp_path / "batch.jsonl", rows), source)
    batch = batch_of(source, [1])
    _, known = teacher(batch)["ranked"].map(lambda each: each[0]).dense()
    learned = (batch.targets[0] != UNLABELED).nonzero().flatten()  # type: ignore[index]
    assert known[learned].sum(1).tolist() == [2] * (len(learned) - 1) + [0], "nothing is said of the end"
    assert teacher.coverage.answered == 2
    assert "says nothing" in teacher.notes[0]


def test_a_token_is_found_by_its_bytes(source: Source, tmp_path: Path) -> None:
    row = chat(source, 1, called="1", ids=False)
    content = row["response"]["body"]["choices"][0]["logprobs"]["content"]
    for each in content:
        each["top_logprobs"] = each["top_logprobs"][:1]
    teacher = TokenFileTeacher(write_rows(tmp_path / "batch.jsonl", [row]), source)
    assert teacher.coverage.told == len("the dog")
    assert teacher.nll == pytest.approx(math.log(2))


def test_completions_and_prompts_of_vllm(source: Source, tmp_path: Path) -> None:
    ids, _ = text(source, 0)
    said = [None] + [
        {str(n): {"logprob": v, "rank": 1} for n, v in top_of(token).items()} for token in ids[1:]
    ]
    choice = {"prompt_token_ids": ids, "prompt_logprobs": said, "logprobs": None}
    teacher = TokenFileTeacher(write_rows(tmp_path / "vllm.jsonl", [{"choices": [choice]}]), source)
    check(teacher, source, 0)


def test_what_it_shows_of_itself_are_log_probabilities(source: Source, tmp_path: Path) -> None:
    teacher = TokenFileTeacher(write_rows(tmp_path / "top.jsonl", table(source, range(1))), source)
    inputs = batch_of(source, [0, 1]).inputs
    logits = teacher.sample(inputs).logits
    assert logits.shape == (*inputs["input_ids"].shape, 257)  # type: ignore[index]
    assert torch.allclose(logits.exp().sum(-1), torch.ones(logits.shape[:2]), atol=1e-5)


def test_text_that_is_written_needs_a_network(source: Source, tmp_path: Path) -> None:
    teacher = TokenFileTeacher(write_rows(tmp_path / "top.jsonl", table(source, range(3))), source)
    for objective in ("ce + on_policy(kd)", "seqkd(ce)", "ce + skd(kd)"):
        with pytest.raises(LimbeckError, match=r"has a network write text, .* have a run or a network teach"):
            answers_suffice(parse(objective), {"teacher": teacher})
    answers_suffice(parse("ce + kd"), {"teacher": teacher})


def test_completions_without_other_tokens(source: Source, tmp_path: Path) -> None:
    letters = [*"the dog"]
    row = {
        "custom_id": "1",
        "choices": [{"logprobs": {"tokens": letters, "token_logprobs": [-1.0] * len(letters)}}],
    }
    teacher = TokenFileTeacher(write_rows(tmp_path / "completions.jsonl", [row]), source)
    assert teacher.coverage.told == len(letters)
    assert teacher.nll == pytest.approx(1.0)


def test_where_nothing_is_said_every_divergence_is_0(source: Source, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "top.jsonl", table(source, range(1)))
    teacher = TokenFileTeacher(file, source)
    logits, known = teacher(batch_of(source, [1]))["ranked"].map(lambda each: each[0]).dense()
    student = torch.randn(len(logits), 257, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for divergence in ("forward", "jsd", "tv"):
        loss = kd(student, logits, 1.0, known=known, divergence=divergence)
        assert loss.item() == pytest.approx(0, abs=1e-6)
        (slope,) = torch.autograd.grad(loss, student)
        assert slope.abs().max().item() < 1e-6


def wrong(source: Source, **changes: Any) -> dict[str, Any]:
    return {**table(source, range(1))[0], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": None}, "does not say which tokens it is about"),
        ({"topk_logprobs": None}, "without log-probabilities"),
        ({"topk_logprobs": [[0.0]]}, "of different lengths"),
        ({"input_ids": [5, 6, 7]}, "it should have what follows each token"),
        ({"id": "seven"}, "is called by its position"),
        ({"id": "7"}, "are counted from 0"),
        ({"topk_ids": None}, "has no answers"),
        ({"topk_ids": [1, 2]}, "is in no form that is read"),
        ({"topk_ids": [[7, 7]], "topk_logprobs": [[-1.0, -2.0]]}, "has an id twice"),
        ({"topk_ids": [[1.5]], "topk_logprobs": [[-1.0]]}, "should be a whole number"),
        ({"topk_ids": [["x"]], "topk_logprobs": [[-1.0]]}, "is in no form that is read"),
        ({"topk_ids": None, "choices": [{"logprobs": {"content": ["a"]}}]}, "is in no form that is read"),
        (
            {"topk_ids": None, "choices": [{"message": {"content": "Tim saw."}}]},
            "has an answer and no logprobs of it",
        ),
        ({"topk_ids": None, "packed_indices": [[1]]}, "DistillKit's packed form"),
    ],
)
def test_rows_that_say_nothing(source: Source, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = write_rows(tmp_path / "top.jsonl", [wrong(source, **changes)])
    with pytest.raises(LimbeckError, match=message):
        TokenFileTeacher(file, source)


def test_texts_of_other_tokens_and_numbers_that_are_no_probabilities(source: Source, tmp_path: Path) -> None:
    row = wrong(source)
    ids = list(row["input_ids"])
    others = [ids[0], ids[1] + 1, *ids[2:]]
    logits = [[3.0, 1.0] for _ in row["topk_logprobs"]]
    twice = [[math.log(0.7)] * 2 for _ in row["topk_logprobs"]]
    strange = [[999, each[1]] for each in row["topk_ids"]]
    for changes, message in (
        ({"input_ids": others}, "has the tokens of no training sample"),
        ({"input_ids": others, "id": "0"}, "has the token .* at position 1"),
        ({"topk_logprobs": logits}, "take the log_softmax"),
        ({"topk_logprobs": twice}, "add up to more than 1"),
        ({"topk_ids": strange}, "has the id 999"),
    ):
        with pytest.raises(LimbeckError, match=message):
            TokenFileTeacher(write_rows(tmp_path / "top.jsonl", [wrong(source, **changes)]), source)


def test_a_response_that_several_samples_have_needs_a_name(source: Source, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"2 training samples .* custom_id"):
        TokenFileTeacher(write_rows(tmp_path / "a.jsonl", [chat(source, 0, called=None, ids=True)]), source)


def test_files_of_other_kinds(source: Source, tmp_path: Path) -> None:
    for name, content, message in (
        ("top.csv", "a,b\n", r"read from \.jsonl and \.parquet"),
        ("top.parquet", "text", "is no Parquet file"),
        ("top.jsonl", "[1\n", "line 1 of .* is no JSON"),
        ("top.jsonl", "[" * 100_000, "line 1 of .* is no JSON"),
        ("top.jsonl", json.dumps([1]) + "\n", "is no JSON object"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(LimbeckError, match=message):
            TokenFileTeacher(tmp_path / name, source)
    with pytest.raises(LimbeckError, match="there is no file"):
        TokenFileTeacher(tmp_path / "none.jsonl", source)


def test_a_text_that_is_there_twice_is_answered_twice(tmp_path: Path) -> None:
    pairs = [*PAIRS, PAIRS[0]]
    for split in ("train", "validation", "test"):
        rows = [{"prompt": prompt, "response": response} for prompt, response in pairs]
        write_rows(tmp_path / f"{split}.jsonl", rows)
    twice = data.load(f'language(path="{tmp_path}", vocab_size=257, block=32)')
    file = write_rows(tmp_path / "top.jsonl", table(twice, range(1)))
    teacher = TokenFileTeacher(file, twice)
    assert (teacher.coverage.rows, teacher.coverage.answered) == (1, 2)
    for sample in (0, len(PAIRS)):
        check(teacher, twice, sample)
