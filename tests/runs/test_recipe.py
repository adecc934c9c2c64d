from __future__ import annotations

from pathlib import Path

from finished_runs import finished_run
from limbeck.config import TeacherConfig
from limbeck.runs.recipe import origin, recipe, seedless


def of(path: Path) -> dict[str, str | None]:
    return origin(TeacherConfig(model=str(path)))


def test_a_recipe_is_all_but_the_seed(tmp_path: Path) -> None:
    one, other = (finished_run(tmp_path / str(seed), seed=seed) for seed in range(2))
    assert recipe(one) == recipe(other)
    assert recipe(one)["training.epochs"] == 2
    assert "seed" not in recipe(one)
    assert recipe(finished_run(tmp_path / "longer", epochs=3)) != recipe(one)
    assert not any("samples_per_epoch" in key for key in recipe(one)), "as before there was such a setting"
    sparse = finished_run(tmp_path / "sparse", settings={"training.samples_per_epoch": 5})
    assert recipe(sparse)["training.samples_per_epoch"] == 5


def test_the_seed_of_the_data_may_be_the_runs_own() -> None:
    text = "noisy_labels(digits(labeled=100, seed=3), rate=0.4, seed=4)"
    assert seedless(text, 3) == "noisy_labels(digits(labeled=100, seed=SEED), rate=0.4, seed=4)"
    assert seedless("<a data set>", 3) == "<a data set>"


def test_where_a_teacher_comes_from(tmp_path: Path) -> None:
    for seed in range(2):
        run = finished_run(tmp_path / f"t-{seed}", seed=seed, data=f"digits(labeled=9, seed={seed})")
        (run.path / "student.safetensors").write_bytes(bytes([seed]))
    first, second = of(tmp_path / "t-0"), of(tmp_path / "t-1")
    assert first["recipe"] == second["recipe"]
    assert first["weights"] != second["weights"]
    assert first == of(tmp_path / "." / "t-0")
    file = tmp_path / "t-0" / "student.safetensors"
    assert of(file) == {"weights": first["weights"], "recipe": None}
    assert origin(TeacherConfig(model="resnet8", weights=file)) == of(file)
    assert of(finished_run(tmp_path / "longer", epochs=3).path)["recipe"] != first["recipe"]
    assert origin(TeacherConfig(model="timm:resnet18")) == {"weights": None, "recipe": None}
    assert origin(TeacherConfig(model="<a network>")) == {"weights": None, "recipe": None}


def test_teachers_of_teachers_follow_the_seed_too(tmp_path: Path) -> None:
    for seed in range(2):
        run = finished_run(tmp_path / f"t-{seed}", "kd", seed, settings={"teacher.model": f"runs/big-{seed}"})
        big = run.result.teachers["teacher"].model_copy(update={"weights": f"w{seed}", "recipe": "big"})
        run.result.model_copy(update={"teachers": {"teacher": big}}).write(run.path / "result.json")
    assert of(tmp_path / "t-0")["recipe"] == of(tmp_path / "t-1")["recipe"]
