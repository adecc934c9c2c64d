"""Runs with a cached teacher."""

from __future__ import annotations

import gc
import shutil
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    catch_job,
    make_student,
    make_teacher,
    plain_network,
    same,
    state_of,
    three_classes,
    timeless,
)
from torch import Tensor, nn

import limbeck
from limbeck.errors import LimbeckError
from limbeck.runs import Run, networks
from limbeck.runs.finish import conclude
from limbeck.runs.result import ViewsResult
from limbeck.teachers import CachedTeacher
from limbeck.teachers.asked import AskedNetwork

QUIET = {"training.trackers": [], "training.precision": "fp32"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples the network of a cached teacher was asked about, each time."""
    sizes: list[int] = []
    ask = AskedNetwork.ask

    def counted(self: AskedNetwork, inputs: Any, chosen: Any, fields: Any) -> Any:
        sizes.append(int(chosen.sum()))
        return ask(self, inputs, chosen, fields)

    monkeypatch.setattr(AskedNetwork, "ask", counted)
    return sizes


def taught(run: Run) -> list[dict[str, Any]]:
    """The history without times and without how often the teacher was asked, which is the cache's gain."""
    return [
        {name: value for name, value in line.items() if name != "teacher_forwards"}
        for line in timeless(run.history)
    ]


def student(out: Path, teacher: Any, **changes: Any) -> Run:
    settings = {**QUIET, "data.views": "crop(padding=1)", **changes.pop("settings", {})}
    return make_student(out, teacher, settings=settings, **changes)


def terms(run: Run) -> list[dict[str, Any]]:
    return [line["terms"] for line in run.history]


def test_cold_and_warm_runs_are_the_same_to_the_bit_and_the_uncached_one_to_rounding(
    tmp_path: Path, teacher: Run, asked: list[int]
) -> None:
    live = student(tmp_path / "live", teacher, views=3)
    assert asked == []
    cold = student(tmp_path / "cold", teacher, views=3, cache_teacher="logits")
    samples = cold.result.data.train
    assert samples < sum(asked) < 2 * samples, "of the second epoch, one view in three was known"
    asked.clear()
    warm = student(tmp_path / "warm", teacher, views=3, cache_teacher="logits")
    assert asked == []
    assert taught(cold) == taught(warm)
    assert same(state_of(cold), state_of(warm))
    assert not same(state_of(cold), state_of(live))
    for ours, theirs in zip(terms(cold), terms(live), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert live.result.teachers["teacher"].cached == ()
    cached = live.result.teachers["teacher"].model_copy(update={"cached": ("logits",)})
    assert cold.result.teacher == warm.result.teacher == cached
    for run in (live, warm):
        assert run.result.data.views == ViewsResult(policy="crop(padding=1)", count=9, drawn=3)


def test_another_student_objective_and_seed_use_the_same_file(
    tmp_path: Path, teacher: Run, asked: list[int], cache: Path
) -> None:
    student(tmp_path / "1", teacher, views=1, cache_teacher="logits")
    assert asked
    asked.clear()
    student(
        tmp_path / "2",
        teacher,
        views=1,
        cache_teacher="logits",
        student="mlp(hidden=[3])",
        objective="ce + dkd",
        seed=9,
        batch_size=100,
    )
    assert asked == []
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("objective", ["ce + icd", "ce + crd(size=8)", "mgd(kd, epochs=1)", "ce + rkd"])
def test_a_warm_run_never_makes_the_network_again_before_its_end(
    objective: str, tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    student(tmp_path / "cold", teacher, views=1, cache_teacher="both", objective=objective)
    jobs, made = catch_job(monkeypatch), made_teachers(monkeypatch)

    def concluded(*arguments: Any) -> None:
        (job,) = jobs
        assert isinstance(job.distiller.teacher, CachedTeacher)
        assert job.distiller.teacher.cached == job.distiller.reads.teacher
        gc.collect()
        assert [network() for network in made] == [None], "made once, to know it by its weights and answers"
        conclude(*arguments)

    monkeypatch.setattr("limbeck.runs.making.conclude", concluded)
    warm = student(tmp_path / "warm", teacher, views=1, cache_teacher="both", objective=objective)
    assert len(made) == 2, "to be measured beside the student"
    assert warm.result.teacher == Run(tmp_path / "cold").result.teacher
    assert same(state_of(Run(tmp_path / "cold")), state_of(warm))


def test_a_cold_run_lets_go_of_the_network_once_all_is_known(
    tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, held = made_teachers(monkeypatch), []
    call = CachedTeacher.__call__

    def watched(self: CachedTeacher, batch: Any) -> Any:
        answer = call(self, batch)
        gc.collect()
        held.append(sum(network() is not None for network in made))
        return answer

    monkeypatch.setattr(CachedTeacher, "__call__", watched)
    student(tmp_path / "cold", teacher, views=1, cache_teacher="logits", epochs=3)
    example, steps = held[0], held[1:]
    assert example == 1
    assert steps == [1] * 7 + [0] * 5, "four steps an epoch; the last of the second epoch shows it"


def made_teachers(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[nn.Module]]:
    """Collects the networks that are made as teachers, without holding them."""
    made: list[weakref.ref[nn.Module]] = []
    make = networks.teacher

    def noted(*given: Any) -> nn.Module:
        network = make(*given)
        made.append(weakref.ref(network))
        return network

    monkeypatch.setattr(networks, "teacher", noted)
    return made


def test_phases_ask_through_the_cache_too(
    tmp_path: Path, teacher: Run, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"views": 1, "cache_teacher": "both", "objective": "mgd(ce + kd, epochs=1)"}
    cold = student(tmp_path / "cold", teacher, **given)
    assert sum(asked) == cold.result.data.train, "two phases and two epochs asked once"
    asked.clear()
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "empty"))
    student(tmp_path / "again", teacher, **given)
    assert sum(asked) == cold.result.data.train, "the analyzers are trained anew"


def test_a_phase_that_reads_stages_leaves_the_training_its_cache(
    tmp_path: Path, asked: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**QUIET, "training.batch_size": 250}
    network: dict[str, Any] = {"data": "digits", "epochs": 1, "settings": settings}
    teacher = limbeck.train(model="cnn(channels=[2, 3])", out=tmp_path / "t", display=False, **network)
    jobs, finished = catch_job(monkeypatch), []
    for number in range(2):
        asked.clear()
        run = limbeck.distill(
            student="cnn(channels=[2, 2])",
            teacher=teacher,
            objective="ce + kd + ab(epochs=1)",
            cache_teacher="logits",
            views=1,
            out=tmp_path / str(number),
            **{**network, "settings": {**network["settings"], "teacher.trust": True}},
        )
        finished.append(run)
        note = (
            "the teacher's logits are kept, and read back ever after; where ab reads its preactivations, it "
        )
        printed = capsys.readouterr()
        assert (printed.out + printed.err).count(f"{note}is asked live\n") == 1
        assert sum(asked) == (1000 if number == 0 else 0)
        assert jobs[-1].distiller.teacher is not None
        assert jobs[-1].distiller.teacher.cached == ("logits",)
    assert same(state_of(finished[0]), state_of(finished[1]))


def test_phases_have_their_cache_where_the_training_has_none(
    tmp_path: Path, asked: list[int], capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    network: dict[str, Any] = {
        "data": "digits",
        "epochs": 1,
        "settings": {**QUIET, "training.batch_size": 250},
    }
    teacher = limbeck.train(model="cnn(channels=[2, 3])", out=tmp_path / "t", display=False, **network)
    run = limbeck.distill(
        student="cnn(channels=[2, 2])",
        teacher=teacher,
        objective="mgd(kd, epochs=1) + at",
        cache_teacher="both",
        views=1,
        out=tmp_path / "run",
        **{**network, "settings": {**network["settings"], "teacher.trust": True}},
    )
    printed = capsys.readouterr()
    expected = (
        "the teacher's logits and embedding are kept, and read back ever after; where at reads its stages"
    )
    assert (printed.out + printed.err).count(expected) == 1
    assert sum(asked) == 1000
    assert len(list(cache.iterdir())) == 2
    assert run.result.teachers["teacher"].cached == ()


@pytest.mark.parametrize(
    ("objective", "cache_teacher", "expected"),
    [
        ("ce + kd", "logits", "the teacher's logits are kept, and read back ever after"),
        (
            "ce + kd + at",
            "both",
            "the teacher is asked live: at reads its stages; cache_teacher=all (--cache-teacher) would "
            "keep that too",
        ),
        ("ce + at", "all", "the teacher's stages are kept, and read back ever after"),
        ("ce + ikd", "logits", "training reads nothing of the teacher, so nothing of it is kept"),
        (
            'ce + infoflow(auxiliary="none")',
            "all",
            "the teacher is asked live: infoflow reads its stages, which no cache keeps",
        ),
        (
            "ce + crd(size=8)",
            "logits",
            "the teacher is asked live: crd reads its embedding; cache_teacher=both (--cache-teacher) would "
            "keep that too",
        ),
    ],
)
def test_the_run_says_once_whether_the_teacher_is_cached(
    objective: str,
    cache_teacher: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cache: Path,
) -> None:
    run = limbeck.distill(
        student="cnn(channels=[2, 3])",
        teacher=limbeck.train(
            model="cnn(channels=[2, 3])", out=tmp_path / "t", epochs=1, settings=QUIET, display=False
        ),
        objective=objective,
        cache_teacher=cache_teacher,
        epochs=2,
        batch_size=250,
        settings=QUIET,
        out=tmp_path / "run",
    )
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count(expected) == 1
    assert cache.exists() == ("kept, and" in expected)
    assert run.finished


def test_a_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"views": 3, "cache_teacher": "logits", "epochs": 3}
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "one"))
    whole = student(tmp_path / "whole", teacher, **given)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "two"))
    steps, call = [0], CachedTeacher.__call__

    def dying(self: CachedTeacher, batch: Any) -> Any:
        steps[0] += 1
        if steps[0] == 8:  # in the second epoch of five steps, counting the example
            raise KeyboardInterrupt
        return call(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(CachedTeacher, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            student(tmp_path / "killed", teacher, **given)
    killed = student(tmp_path / "killed", teacher, **given, resume=True)
    assert taught(killed) == taught(whole)
    assert same(state_of(killed), state_of(whole))
    answers = [next((tmp_path / name / "teachers").iterdir()).read_bytes() for name in ("one", "two")]
    assert answers[0] == answers[1]


def test_a_full_disk_turns_the_cache_off_and_the_run_goes_on(
    tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = student(tmp_path / "kept", teacher, cache_teacher="both", objective="ce + kd + 0*rkd", views=1)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "full"))

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.warns(UserWarning, match="further answers are not kept: .*No space left") as caught:
        run = student(tmp_path / "run", teacher, cache_teacher="both", objective="ce + kd + 0*rkd", views=1)
    assert len([each for each in caught if "not kept" in str(each.message)]) == 1
    assert taught(run) == taught(kept)
    assert same(state_of(run), state_of(kept))


@pytest.mark.parametrize("fate", ["replaced", "gone"])
def test_a_run_whose_teacher_is_no_more_at_its_end_is_finished_without_its_figures(
    fate: str,
    tmp_path: Path,
    teacher: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, other = tmp_path / "teacher", make_teacher(tmp_path / "other", seed=7)
    shutil.copytree(teacher.path, place)
    first = student(tmp_path / "cold", place, cache_teacher="logits", views=1)

    def concluded(*arguments: Any) -> None:
        if fate == "replaced":
            shutil.copy(other.path / "student.safetensors", place / "student.safetensors")
        else:
            shutil.rmtree(place)
        conclude(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("limbeck.runs.making.conclude", concluded)
        warm = student(tmp_path / "warm", place, cache_teacher="logits", views=1, display=True)
    reason = {
        "replaced": "The teacher is left out: the teacher's weights on disk have changed since the run "
        "began; put the old ones back, or start another run",
        "gone": f"The teacher is left out: the teacher '{place}' is no run directory and no file",
    }[fate]
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count(reason) == 1
    assert same(state_of(first), state_of(warm))
    assert warm.result.teacher == first.result.teachers["teacher"].model_copy(update={"metrics": None})
    assert warm.result.notes[0] == f"{reason}."
    assert warm.result.agreement is None
    assert reason in (warm.path / "evaluation.json").read_text()
    assert "its teacher is right" not in (warm.path / "report.html").read_text()


def test_a_run_is_not_resumed_with_another_teacher(
    tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = tmp_path / "teacher", make_teacher(tmp_path / "other", seed=7)
    shutil.copytree(teacher.path, place)
    with monkeypatch.context() as patch:
        patch.setattr("limbeck.runs.making.conclude", lambda *given: None)
        student(tmp_path / "run", place)
    shutil.copy(other.path / "student.safetensors", place / "student.safetensors")
    with pytest.raises(LimbeckError, match=r"have changed since the run in .* began: their digest was"):
        student(tmp_path / "run", place, resume=True)
    shutil.copy(teacher.path / "student.safetensors", place / "student.safetensors")
    assert student(tmp_path / "run", place, resume=True).finished


def test_a_damaged_cache_is_computed_anew(
    tmp_path: Path, teacher: Run, cache: Path, asked: list[int]
) -> None:
    first = student(tmp_path / "1", teacher, cache_teacher="logits", views=1)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[5000] ^= 4
    file.write_bytes(content[:-1])
    asked.clear()
    second = student(tmp_path / "2", teacher, cache_teacher="logits", views=1)
    assert asked == [1, 1]
    assert taught(first) == taught(second)
    assert same(state_of(first), state_of(second))


def test_a_network_that_was_handed_over_is_cached_and_stays(
    tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, jobs = plain_network(8), catch_job(monkeypatch)
    for number in range(2):
        asked.clear()
        limbeck.distill(
            student=plain_network(),
            teacher=network,
            data=three_classes(),
            objective="kd",
            cache_teacher="logits",
            epochs=2,
            settings=QUIET,
            display=False,
            out=tmp_path / str(number),
        )
        assert jobs[-1].distiller.teachers["teacher"].network is network
        assert sum(asked) == 60 * (number == 0)


class Noisy(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Samples that are different every time."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return torch.rand(4), position % 3


def test_endless_views_need_a_number_of_them(tmp_path: Path, asked: list[int]) -> None:
    given: dict[str, Any] = {
        "student": plain_network(),
        "teacher": nn.Sequential(nn.Linear(4, 3)),
        "data": limbeck.data.from_dataset(Noisy(), validation=None),
        "objective": "kd",
        "cache_teacher": "logits",
        "epochs": 4,
        "settings": QUIET,
        "display": False,
        "out": tmp_path / "run",
    }
    with pytest.raises(LimbeckError, match=r"hardly one comes twice, .* for example views=16"):
        limbeck.distill(**given)
    assert not (tmp_path / "run").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limbeck.distill(**given, views=1)
    assert sum(asked) == 12
    with pytest.raises(LimbeckError, match="so 10 of each sample cannot be drawn among; take 1 to 9"):
        limbeck.distill(
            **{**given, "settings": {**QUIET, "data.views": "crop(padding=1)"}}, views=10, overwrite=True
        )


def test_answers_in_the_units_of_the_targets_are_not_rounded_into_a_cache(tmp_path: Path) -> None:
    teacher = limbeck.train(
        model="mlp(hidden=[8])",
        data="diabetes",
        out=tmp_path / "teacher",
        epochs=20,
        display=False,
        settings=QUIET,
    )
    given: dict[str, Any] = {
        "student": "mlp(hidden=[2])",
        "teacher": teacher,
        "data": "diabetes",
        "epochs": 1,
        "settings": QUIET,
    }
    with pytest.raises(
        LimbeckError, match="in the units of the targets, of which a cache keeps three digits"
    ):
        limbeck.distill(out=tmp_path / "run", cache_teacher="logits", display=False, **given)
    assert not (tmp_path / "run").exists()
