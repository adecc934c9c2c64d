"""The cache of a language model: it is asked once, and its most probable tokens teach ever after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Loader, Source
from limbeck.models import GPT
from limbeck.teachers import CachedTeacher

VOCABULARY = 270


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    file = tmp_path_factory.mktemp("text") / "text.jsonl"
    words = ("red", "green", "a house", "the sea", "ten", "of")
    lines = [
        f'{{"prompt": "say {words[n % 6]}", "response": "{words[n * 7 % 6]} and {words[n % 5]}"}}'
        for n in range(40)
    ]
    file.write_text("\n".join(lines))
    return data.load(f'language(path="{file}", vocab_size={VOCABULARY}, block=24)')


def gpt(seed: int, source: Source) -> GPT:
    torch.manual_seed(seed)
    made = GPT(dim=16, depth=1, heads=2, vocab_size=source.task.width, tie=False)
    with torch.no_grad():
        made.head.weight.mul_(60)  # sure of its tokens, as trained models are
    return made


def batches(source: Source) -> Iterator[Batch]:
    yield from Loader(source.train, 8, views=source.views, seed=0)


def losses(source: Source, folder: Path | None, *, top: int = 64, chunk: int | None = None) -> list[Tensor]:
    teacher: GPT | CachedTeacher = gpt(1, source)
    if folder is not None:
        teacher = CachedTeacher(gpt(1, source), source, directory=folder, top=top)
    made = Distiller(
        gpt(0, source),
        teacher,
        "0.5*ce + 0.5*kd(temperature=1)",
        example=source.example(),
        data=source,
        chunk=chunk,
    )
    assert (made._chunked is None) == (not chunk)
    return [made(batch).total.detach() for batch in batches(source)]


@pytest.mark.parametrize("chunk", [None, 5])
def test_the_losses_are_those_of_the_live_teacher(source: Source, tmp_path: Path, chunk: int | None) -> None:
    live = losses(source, None)
    for _ in ("asked", "read back"):
        cached = losses(source, tmp_path, chunk=chunk)
        assert all((ours - theirs).abs() < 0.01 for ours, theirs in zip(cached, live, strict=True))
    every = losses(source, tmp_path, top=source.task.width)
    torch.testing.assert_close(torch.stack(every), torch.stack(live), rtol=1e-3, atol=1e-3)


def test_the_network_is_asked_once(source: Source, tmp_path: Path) -> None:
    teacher = CachedTeacher(gpt(1, source), source, directory=tmp_path)
    made = Distiller(gpt(0, source), teacher, "kd(temperature=1)", example=source.example(), data=source)
    for batch in batches(source):
        made(batch)
    shown = teacher.shown
    assert shown >= len(source.train)
    for batch in batches(source):
        made(batch)
    assert teacher.shown == shown
    (file,) = tmp_path.iterdir()
    positions = len(source.train) * (source.train.targets.shape[1] if source.train.targets is not None else 0)
    assert file.stat().st_size / positions < 300


def test_a_method_that_needs_every_token_is_refused(source: Source, tmp_path: Path) -> None:
    teacher = CachedTeacher(gpt(1, source), source, directory=tmp_path)
    with pytest.raises(LimbeckError) as caught:
        Distiller(gpt(0, source), teacher, "ce + dkd", example=source.example(), data=source)
    assert str(caught.value) == (
        "dkd needs a logit for every token, and a cache keeps the 64 most probable ones of each position; "
        "use kd, or leave out cache_teacher (--cache-teacher)"
    )


def test_text_that_is_written_is_asked_live(source: Source, tmp_path: Path) -> None:
    teacher = CachedTeacher(gpt(1, source), source, directory=tmp_path)
    objective = "on_policy(ce + kd(temperature=1), fraction=0.5, length=4)"
    made = Distiller(gpt(0, source), teacher, objective, example=source.example(), data=source)
    for step in range(8):
        made.progress(step, 0, 0.0)
        assert made(next(batches(source))).total.isfinite()
