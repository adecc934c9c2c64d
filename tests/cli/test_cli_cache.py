from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from command import Command

from collections_on_disk import collection
from cross_folders import cross_folder
from limbeck.runs import Run
from limbeck.runs.result import ViewsResult


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def fill(command: Command, teacher: Run, *arguments: str) -> Any:
    views = ("--set", "data.views=crop(padding=1)")
    return command("cache", "fill", "--teacher", teacher.path, "--views", "2", *views, *arguments)


def test_from_nothing_to_nothing(command: Command, teacher: Run, cache: Path) -> None:
    empty = command("cache", "list")
    assert empty.out == f"there are no caches in {cache}\n"
    filled = fill(command, teacher, "--cache-teacher", "both")
    assert filled.code == 0
    assert filled.out.startswith("2 views of 1,000 samples: 2,000 answers, 2,000 of them new, in ")
    listed = command("cache", "list")
    assert (
        len(re.findall(r"2,000 answers, 2 for each of 1,000 samples, [\d.]+ kB on disk\n", listed.out)) == 2
    )
    for part in ("logits of MLP ", "embedding of MLP ", "data digits ", "views crop(padding=1)"):
        assert part in listed.out
    checked = command("cache", "verify")
    assert checked.code == 0
    assert checked.out.count("all sound") == 2
    names = [path.stem for path in sorted(cache.iterdir())]
    assert command("cache", "clear", names[0]).out == "removed 1 cache, 53.2 kB\n"
    assert [path.stem for path in cache.iterdir()] == names[1:]
    assert command("cache", "clear", "--all").out.startswith("removed 1 cache, ")
    assert list(cache.iterdir()) == []


def test_pairs_of_a_cross_encoder_are_filled_and_listed(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    cross_folder(tmp_path / "cross")
    collection(tmp_path / "beir", documents=8, queries=4)
    data = f'retrieval(path="{tmp_path / "beir"}", held_out=0)'
    given = ("--teacher", f"hf:{tmp_path / 'cross'}", "--data", data, "--cache-teacher", "both")
    filled = command("cache", "fill", *given)
    assert filled.out.startswith("1 view of 4 pairs: 4 answers, 4 of them new, in ")
    for word in ("list", "verify"):
        shown = command("cache", word)
        assert shown.code == 0
        assert shown.out.count("4 answers, 1 for each of 4 pairs") == 2


def test_damage_is_found_and_mended(command: Command, teacher: Run, cache: Path) -> None:
    fill(command, teacher)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    found = command("cache", "verify", file.stem[:4])
    assert found.code == 1
    assert "1,999 answers" in found.out
    assert ", 1 damaged" in found.out
    assert found.out.endswith("Damaged answers will be asked for again.\n")
    assert fill(command, teacher).out.startswith("2 views of 1,000 samples: 2,000 answers, 1 of them new")
    assert command("cache", "verify").code == 0
    file.write_bytes(b"nonsense")
    lost = command("cache", "verify")
    assert lost.code == 1
    assert lost.out.startswith(f"{file.stem}  damaged: its description cannot be read, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clear",), "name the cache to remove, as `limbeck cache list` does, or say --all"),
        (("clear", "abc", "--all"), "name the cache to remove, as"),
        (("clear", "abc"), "there is no cache 'abc'"),
        (("verify", "abc"), "there is no cache 'abc'"),
        *(
            (
                ("verify", option, value),
                f"{option} says how the teacher is asked anew; name it, too",
            )
            for option, value in (
                ("--student", "nonsense"),
                ("--data", "digits"),
                ("--data-dir", "."),
                ("--batch-size", "8"),
                ("--device", "cpu"),
                ("--set", "seed=1"),
            )
        ),
        (("fill",), "give one teacher (--teacher)"),
        (
            ("fill", "--teacher", "nothing/there"),
            "the teacher 'nothing/there' is no run directory and no file",
        ),
        (
            ("fill", "--teacher", "mlp", "--views", "0"),
            "training.views=0 should be greater than or equal to 1",
        ),
        *(
            (
                (word, "--device", "tpu", "--teacher", "mlp", "--data", "digits"),
                "training.device='tpu' should be auto, cpu, cuda, mps, or cuda:1 for one of several",
            )
            for word in ("plan", "fill")
        ),
    ],
)
def test_mistakes_are_one_sentence(command: Command, arguments: tuple[str, ...], message: str) -> None:
    answer = command("cache", *arguments)
    assert answer.code == 2
    assert answer.err.startswith("limbeck: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_a_filling_that_is_interrupted_says_how_to_go_on(
    command: Command, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limbeck.runs import filling

    def interrupted(*arguments: Any, **settings: Any) -> Any:
        yield filling.Filling(2, 10, 5, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(filling, "fill", interrupted)
    answer = fill(command, teacher)
    assert answer.code == 130
    assert answer.err == "limbeck: interrupted; the same command continues from here\n"


def test_distill_takes_the_flags(command: Command, teacher: Run) -> None:
    flags = ("--teacher", teacher.path, "--student", "mlp(hidden=[4])", "--epochs", "1", "--out", "run")
    views = ("--set", "data.views=crop(padding=1)", "--set", "training.trackers=[]", "--baseline", "none")
    answer = command("distill", *flags, *views, "--cache-teacher", "logits", "--views", "2")
    assert answer.code == 0
    assert Run(Path("run")).result.teachers["teacher"].cached == ("logits",)
    assert Run(Path("run")).result.data.views == ViewsResult(policy="crop(padding=1)", count=9, drawn=2)
    for wrong, message in (
        (("--views", "0"), "training.views=0 should be greater than or equal to 1"),
        (("--views", "-1"), "training.views=-1 should be greater than or equal to 1"),
        (("--views", "10"), "cannot be drawn among; take 1 to 9"),
        (
            ("--cache-teacher", "stages"),
            "teacher.cache='stages' should be 'logits', 'embedding', 'both' or 'all'",
        ),
        (("--cache-teacher", "all", "--cache-budget", "much"), 'should be a size such as "20GB"'),
        (("--cache-budget", "1GB"), "bounds a cache, and there is none; say what it keeps, too"),
    ):
        refused = command("distill", *flags[:-1], "other", *views, *wrong)
        assert refused.code == 2
        assert message in refused.err
        assert not Path("other").exists()


def test_a_cache_becomes_a_file_of_answers(command: Command, teacher: Run, cache: Path) -> None:
    """A run that learns from it learns what it learns from the cache."""
    fill(command, teacher)
    (file,) = cache.iterdir()
    drawn = command("cache", "export", file.stem[:5], "--out", "some.jsonl")
    assert drawn.code == 0
    few, _, rest = drawn.out.removeprefix("answers to ").partition(" ")
    assert 0 < int(few) < 1000, "two of nine views are those of samples as they are"
    assert rest == "of 1,000 training samples of digits\nsome.jsonl\n"
    file.unlink()
    command("cache", "fill", "--teacher", teacher.path)
    (file,) = cache.iterdir()
    whole = command("cache", "export", file.stem, "--out", "all.jsonl")
    assert whole.out == "answers to 1,000 of 1,000 training samples of digits\nall.jsonl\n"
    assert command("cache", "export", file.stem, "--out", "all.jsonl").code == 2
    runs = []
    for name, given in (("cached", (teacher.path, "--cache-teacher", "logits")), ("file", ("all.jsonl",))):
        done = command(
            "distill", "--student", "mlp(hidden=[6])", "--teacher", *given, "--epochs", "1", "--set",
            "training.trackers=[]", "--set", "data.views=none", "--set", "training.precision=fp32",
            "--batch-size", "500", "--set", "teacher.trust=true", "--out", name,
        )  # fmt: skip
        assert done.code == 0, done.err
        runs.append(Run(Path(name)))
    assert runs[0].result.objective == runs[1].result.objective == "0.1*ce + 0.9*kd(temperature=4)"
    states = [(run.path / "student.safetensors").read_bytes() for run in runs]
    assert states[0] == states[1]


def test_a_cache_that_cannot_be_a_file_of_answers(command: Command, teacher: Run, cache: Path) -> None:
    assert command("cache", "export", "ab", "--out", "a.jsonl").err.startswith(
        "limbeck: there is no cache 'ab'"
    )
    assert command("cache", "export", "ab", "--out", "a.txt").err.startswith(
        "limbeck: answers are written to a"
    )
    fill(command, teacher, "--cache-teacher", "embedding")
    (file,) = cache.iterdir()
    refused = command("cache", "export", file.stem, "--out", "a.jsonl")
    assert (refused.code, refused.out) == (2, "")
    assert "holds the embedding of a teacher, and answers are made of logits" in refused.err
