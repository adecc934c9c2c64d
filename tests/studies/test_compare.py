from __future__ import annotations

from pathlib import Path

import pytest

from finished_runs import finished_run, two_groups
from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.studies.compare import compare
from limbeck.studies.measures import Measure
from limbeck.tasks import Classification, Metric


def names(*runs: object, anyway: bool = False) -> list[str]:
    return [it.name for it in compare(runs, anyway=anyway).contenders]  # type: ignore[arg-type]


def test_runs_of_one_thing_are_a_group_over_their_seeds(tmp_path: Path) -> None:
    found = compare(two_groups(tmp_path))
    assert [it.name for it in found.contenders] == ["ce", "kd(temperature=4)"]
    top1 = Measure(found.contenders[0].task.primary)
    assert found.contenders[0].values(top1) == pytest.approx({0: 70, 1: 71, 2: 72, 3: 73, 4: 74})
    assert found.contenders[0].steps == dict.fromkeys(range(5), 16)
    assert found.baseline == "ce"
    assert found.notes == ()


def test_what_cannot_change_a_result_makes_no_group(tmp_path: Path) -> None:
    one = finished_run(tmp_path / "a", seed=0, settings={"training.device": "cpu"})
    other = finished_run(tmp_path / "b", seed=1, settings={"training.trackers": []})
    assert names(one, other) == ["ce"]


def test_a_group_is_named_by_what_sets_it_apart(tmp_path: Path) -> None:
    made = [
        finished_run(tmp_path / "a"),
        finished_run(tmp_path / "b", epochs=9),
        finished_run(tmp_path / "c", settings={"student.model": "mlp"}),
        finished_run(tmp_path / "d", "kd", settings={"teacher.model": "runs/other"}),
        finished_run(tmp_path / "e", "kd"),
    ]
    assert names(*made) == [
        "ce, student cnn, epochs=2",
        "ce, student cnn, epochs=9",
        "ce, student mlp, epochs=2",
        "kd, student cnn, epochs=2, taught by runs/other",
        "kd, student cnn, epochs=2, taught by runs/teacher",
    ]
    assert names(made[0], made[4]) == ["ce", "kd"]


def test_a_teacher_that_the_objective_does_not_tell_is_named(tmp_path: Path) -> None:
    alone = finished_run(tmp_path / "a", "lwkd", settings={"teacher": None})
    assert names(alone, finished_run(tmp_path / "b", "lwkd")) == ["lwkd", "lwkd, taught by runs/teacher"]


def taught(path: Path, objective: str, seed: int, model: str, weights: str, made: str | None = "r") -> Run:
    run = finished_run(path, objective, seed, settings={"teacher.model": model})
    teacher = run.result.teachers["teacher"].model_copy(update={"weights": weights, "recipe": made})
    run.result.model_copy(update={"teachers": {"teacher": teacher}}).write(run.path / "result.json")
    return run


def test_a_teacher_is_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    places = ["runs/t", "./runs/t", "/abs/runs/t"]
    made = [taught(tmp_path / str(seed), "kd", seed, place, "w") for seed, place in enumerate(places)]
    other = taught(tmp_path / "x", "kd", 0, "runs/t", "v")
    assert names(*made) == ["kd"]
    assert names(*made, other) == ["kd, taught by runs/t", "kd, taught by runs/t (v)"]


def test_a_teacher_for_each_seed_is_one_thing(tmp_path: Path) -> None:
    made = [
        taught(tmp_path / f"{objective}-{seed}", objective, seed, f"runs/t-{seed}", f"w{seed}")
        for objective in ("kd", "dkd")
        for seed in range(3)
    ]
    assert names(*made) == ["kd", "dkd"]
    unlike = taught(tmp_path / "x", "kd", 0, "runs/u", "u", "another recipe")
    assert names(*made[:3], unlike) == ["kd, taught by runs/t-0 to runs/t-2", "kd, taught by runs/u"]
    crossed = taught(tmp_path / "y", "srrl", 1, "runs/t-0", "w0")
    assert len(names(*made, crossed)) == 7  # seed 1 has two teachers, so each teacher is one thing


def test_what_the_device_chose_tells_runs_apart(tmp_path: Path) -> None:
    made = [finished_run(tmp_path / precision, seed=seed) for seed, precision in enumerate(("fp32", "bf16"))]
    for run in made:
        choices = {"precision": run.path.name, "memory_format": "contiguous", "compile": False}
        run.result.model_copy(update={"choices": choices}).write(run.path / "result.json")
    assert names(*made) == ["ce, precision=fp32", "ce, precision=bf16"]


def test_data_drawn_anew_with_each_seed_is_one_thing(tmp_path: Path) -> None:
    made = [
        finished_run(
            tmp_path / f"{objective}-{seed}",
            objective,
            seed,
            data=f"noisy_labels(digits(labeled=100, seed={seed}), rate=0.4)",
            fingerprint=f"f{seed}",
        )
        for objective in ("ce", "kd")
        for seed in range(2)
    ]
    assert names(*made) == ["ce", "kd"]
    stranger = finished_run(
        tmp_path / "x",
        "dkd",
        1,
        data="noisy_labels(digits(labeled=100, seed=1), rate=0.4)",
        fingerprint="f9",
    )
    with pytest.raises(LimbeckError, match=r"ce-1' and .*x' were run on different data"):
        compare([*made, stranger])


def test_data_with_a_seed_of_its_own_keeps_it(tmp_path: Path) -> None:
    made = [finished_run(tmp_path / str(seed), seed=seed, data="digits(seed=1)") for seed in range(3)]
    assert names(*made) == ["ce"]


def test_different_data_is_refused_and_named(tmp_path: Path) -> None:
    made = [
        finished_run(tmp_path / "a"),
        finished_run(tmp_path / "b", "kd", data="digits(labeled=9)", fingerprint="bbbb"),
    ]
    with pytest.raises(
        LimbeckError,
        match=r"a' and '.*b' were run on different data, digits \(aaaa\) and .* \(bbbb\); anyway=True",
    ):
        compare(made)
    found = compare(made, anyway=True)
    assert [it.name for it in found.contenders] == ["ce, on digits", "kd, on digits(labeled=9)"]
    assert "were run on different data" in found.notes[0]
    assert found.baseline == "ce, on digits"


def test_unfinished_runs_are_all_named_or_left_out(tmp_path: Path) -> None:
    whole = finished_run(tmp_path / "a")
    half = finished_run(tmp_path / "b", seed=1)
    (half.path / "result.json").unlink()
    bare = finished_run(tmp_path / "c", seed=2)
    (bare.path / "student.safetensors").unlink()
    with pytest.raises(
        LimbeckError, match=r"b' is not finished; .*c' holds no student.safetensors; leave out"
    ):
        compare([whole, half, bare])
    found = compare([whole, half, bare], anyway=True)
    assert found.contenders[0].seeds == (0,)
    assert len(found.notes) == 2
    assert found.notes[0].endswith("b' is not finished, and is left out.")
    with pytest.raises(LimbeckError, match="is not finished"):
        compare([half], anyway=True)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"nothing' is no run's directory: it holds no config.yaml"):
        compare([tmp_path / "nothing"])
    with pytest.raises(LimbeckError, match="there is no run to compare"):
        compare([])


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a")
    (run.path / "result.json").write_text('{"objective": ')
    with pytest.raises(LimbeckError, match=r"a/result.json' is damaged"):
        compare([run])


def test_a_seed_counts_once(tmp_path: Path) -> None:
    made = [finished_run(tmp_path / "a", seed=3), finished_run(tmp_path / "b", seed=3)]
    with pytest.raises(LimbeckError, match=r"a' and .*b' are the same twice: ce with seed 3"):
        compare(made)
    assert names(made[0], made[0].path) == ["ce"]


def test_half_a_line_after_a_crash_is_skipped_with_a_note(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "trai')
    found = compare([run])
    assert len(found.contenders[0].histories[0]) == 1
    assert found.notes == (f"{str(run.path)!r}: 1 line of metrics.jsonl could not be read.",)


def test_the_baseline_is_named_or_the_one_without_a_teacher(tmp_path: Path) -> None:
    made = [
        finished_run(tmp_path / "a"),
        finished_run(tmp_path / "b", epochs=9),
        finished_run(tmp_path / "c", "kd"),
    ]
    assert compare(made[:1] + made[2:]).baseline == "ce"
    assert compare(made).baseline is None
    assert (
        compare(made)
        .notes[0]
        .startswith("No differences are shown: the baseline is the contender that learns by ce alone")
    )
    assert compare(made, baseline="kd").baseline == "kd, epochs=2"
    assert compare(made, baseline="ce, epochs=9").baseline == "ce, epochs=9"
    with pytest.raises(
        LimbeckError, match="'ce' is the objective of several: 'ce, epochs=2', 'ce, epochs=9'"
    ):
        compare(made, baseline="ce")
    with pytest.raises(LimbeckError, match="no run is named 'dk'; there are 'ce, epochs=2', "):
        compare(made, baseline="dk")


def test_runs_of_different_tasks_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ranking(Classification):
        name = "ranking"
        metrics = (Metric("tau", "Kendall's tau"),)

    monkeypatch.setattr(tasks, "TASKS", {**tasks.TASKS, "ranking": Ranking})
    made = [finished_run(tmp_path / "a"), finished_run(tmp_path / "b", "kd")]
    file = made[1].path / "result.json"
    file.write_text(file.read_text().replace('"name": "classification"', '"name": "ranking"'))
    with pytest.raises(
        LimbeckError, match="'ce' is a run of the task classification and 'kd' one of ranking"
    ):
        compare(made)


def test_a_verdict_on_unequal_steps_is_for_who_asks(tmp_path: Path) -> None:
    assert not compare([finished_run(tmp_path / "a")]).unequal
    assert compare([tmp_path / "a"], unequal=True).unequal
