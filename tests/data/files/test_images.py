from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from command import Command
from PIL import Image
from torch import Tensor

from class_counts import class_counts
from limbeck.data import from_images, load
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.data.storage.streamed import Encoded
from limbeck.data.views import Crop
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from picture_files import pixels, png, write_parquet, write_splits


def images_of(split: Split | None) -> Tensor:
    assert split is not None
    images = split.samples.take(split.index, torch.zeros_like(split.index))
    assert isinstance(images, Tensor)
    return images


def test_parquet_files_as_the_hub_has_them(tmp_path: Path) -> None:
    shown = write_splits(tmp_path, {"train": 60, "test": 9})
    source = load("images", tmp_path)
    assert (source.name, source.kind) == ("images", "image")
    assert source.task.names == ("class 0", "class 1", "class 2")
    assert source.views == Crop(padding=1, flip=True)
    assert source.validation is not None
    assert source.test is not None
    assert isinstance(source.train.samples, Resident)
    assert class_counts(source.train, 3).tolist() == [18, 18, 18]
    assert class_counts(source.validation, 3).tolist() == [2, 2, 2]
    assert source.test.targets.tolist() == [0, 1, 2] * 3
    assert torch.equal(images_of(source.test), torch.from_numpy(shown["test"]))
    both = torch.cat([images_of(source.train), images_of(source.validation)])
    order = {bytes(image.tobytes()): place for place, image in enumerate(shown["train"])}
    places = [order[image.numpy().tobytes()] for image in both]
    assert sorted(places) == list(range(60))
    targets = torch.cat([source.train.targets, source.validation.targets])
    assert targets.tolist() == [place % 3 for place in places]
    mean = images_of(source.train).double().mean((0, 2, 3)) / 255
    assert source.mean == pytest.approx(mean.tolist())


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    shown = pixels(24)
    for number, image in enumerate(shown):
        folder = tmp_path / "train" / ("cat" if number % 2 else "ant")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02}.png").write_bytes(png(image))
    (tmp_path / "train" / ".hidden").mkdir()
    (tmp_path / "val" / "cat").mkdir(parents=True)
    (tmp_path / "val" / "cat" / "x.PNG").write_bytes(png(shown[0]))
    source = from_images(str(tmp_path), test="val", validation=0)
    assert source.task.names == ("ant", "cat")
    assert source.validation is None
    assert source.test is not None
    assert source.test.targets.tolist() == [1]
    assert torch.equal(images_of(source.test)[0], torch.from_numpy(shown[0]))
    expected = torch.from_numpy(shown)[[*range(0, 24, 2), *range(1, 24, 2)]]
    assert torch.equal(images_of(source.train), expected)
    assert source.train.targets.tolist() == [0] * 12 + [1] * 12


def test_folders_without_splits_are_parted(tmp_path: Path) -> None:
    for number, image in enumerate(pixels(40)):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        (tmp_path / str(number % 2) / f"{number}.png").write_bytes(png(image))
    source = from_images(data_dir=tmp_path)
    assert source.test is not None
    assert source.validation is not None
    assert [len(part) for part in (source.train, source.validation, source.test)] == [32, 4, 4]


def test_a_csv_names_files_beside_it(tmp_path: Path) -> None:
    shown = pixels(20)
    (tmp_path / "pictures").mkdir()
    with (tmp_path / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "kind"])
        for number, image in enumerate(shown):
            (tmp_path / "pictures" / f"{number}.png").write_bytes(png(image))
            writer.writerow([f"pictures/{number}.png", ["01", "NA"][number % 2]])
    spec = 'images(image="file", label="kind", validation=0.5)'
    source = load(spec, tmp_path)
    assert source.name == spec
    assert source.task.names == ("01", "NA")
    assert source.test is not None
    assert [len(source.train), len(source.test)] == [10, 2]
    assert {image.numpy().tobytes() for image in images_of(source.train)} <= {i.tobytes() for i in shown}


@pytest.mark.parametrize("parted", [True, False])
def test_what_datasets_has_saved(tmp_path: Path, parted: bool) -> None:
    shown = pixels(30)
    rows = {"image": [{"bytes": png(image), "path": None} for image in shown], "label": [0, 1, 2] * 10}
    train = datasets.Dataset.from_dict(rows)
    (datasets.DatasetDict({"train": train, "test": train}) if parted else train).save_to_disk(tmp_path / "d")
    source = from_images("d", data_dir=tmp_path, validation=0)
    assert source.task.names == ("0", "1", "2")
    assert source.test is not None
    if parted:
        assert torch.equal(images_of(source.train), torch.from_numpy(shown))
    assert [len(source.train), len(source.test)] == ([30, 30] if parted else [27, 3])


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_splits(tmp_path, {"train": 30, "test": 6})
    local = load("images", tmp_path)
    files = {split: str(next(tmp_path.glob(f"{split}-*"))) for split in ("train", "test")}
    hub = {
        split: datasets.Dataset.from_parquet(file, cache_dir=str(tmp_path / "cache"))
        for split, file in files.items()
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"somebody/things": hub}[name])
    source = from_images("somebody/things")
    assert source.fingerprint() == local.fingerprint()
    assert source.task.names == local.task.names
    assert source.name == 'images(path="somebody/things")'


def test_sizes_and_channels(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    for number, shape in enumerate([(6, 9), (12, 6), (8, 8), (4, 4)] * 3):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        (folder / str(number % 2) / f"{number}.png").write_bytes(png(pixels(1, *shape)[0]))
    with pytest.raises(LimbeckError, match=r"has \d+ x \d+ pixels, but the first .* \d+ x \d+; size=\.\.\."):
        from_images(data_dir=tmp_path)
    assert images_of(from_images(data_dir=tmp_path, size=6).train).shape[1:] == (3, 6, 6)
    assert images_of(from_images(data_dir=tmp_path, size=5, gray=True).train).shape[1:] == (1, 5, 5)


def test_a_wide_image_is_scaled_by_its_shorter_side_and_loses_its_edges(tmp_path: Path) -> None:
    wide = torch.zeros(3, 4, 12, dtype=torch.uint8)
    wide[:, :, 4:8] = 200  # the middle
    for number in range(12):
        (tmp_path / "train" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / str(number % 2) / f"{number}.png").write_bytes(png(wide.numpy()))
    images = images_of(from_images(data_dir=tmp_path, size=4, validation=0).train)
    assert torch.equal(images, torch.full_like(images, 200))


def test_part_of_the_images_and_of_the_labels(tmp_path: Path) -> None:
    write_splits(tmp_path, {"train": 90, "test": 9})
    whole = from_images(data_dir=tmp_path)
    source = load("images(train=30, labeled=6, seed=1)", tmp_path)
    assert source.name == "images(train=30, labeled=6, seed=1)"
    assert len(source.train) == 30
    assert class_counts(source.train, 3).tolist() == [2, 2, 2]
    assert (source.train.targets == UNLABELED).sum() == 24
    assert source.validation is not None
    assert whole.validation is not None
    assert source.validation.samples.fingerprint == whole.validation.samples.fingerprint
    other = load("images(train=30, seed=2)", tmp_path)
    assert class_counts(other.train, 3).tolist() == [10, 10, 10]
    assert other.train.samples.fingerprint != source.train.samples.fingerprint
    again = load("images(train=30, labeled=6, seed=1)", tmp_path)
    assert again.fingerprint() == source.fingerprint()


def test_images_that_do_not_fit_the_memory_are_decoded_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_splits(tmp_path, {"train": 30, "test": 6})
    kept = load('images(memory="20 KB")', tmp_path)
    assert not (tmp_path / "cache").exists()
    streamed = load('images(memory="6.5 KB")', tmp_path)  # 36 images of 192 bytes take 6.9
    assert isinstance(kept.train.samples, Resident)
    assert isinstance(streamed.train.samples, Encoded)
    assert streamed.name == kept.name == "images"
    assert streamed.fingerprint() == kept.fingerprint()
    assert (streamed.mean, streamed.std) == (kept.mean, kept.std)
    assert torch.equal(images_of(streamed.train), images_of(kept.train))
    assert (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image": "img"},
            r"unknown column of '.*train-00000-of-00001.parquet': 'img'; did you mean 'image'",
        ),
        ({"label": "xyz"}, r"unknown column of .*: 'xyz'; there are: image, label"),
        ({"test": "valid"}, r"has no split 'valid' but 'test', 'train'"),
        ({"train": 55}, "train should be 3 to 54, from one image for each output to all, not 55"),
        ({"labeled": 2}, "labeled should be 3 to 54"),
        ({"train": 30, "labeled": 31}, "labeled should be 3 to 30"),
        ({"seed": 1}, "the seed picks images or labels"),
        ({"memory": "4 gigs"}, r'memory should be a size such as "4 GiB" .*, not \'4 gigs\''),
    ],
)
def test_refuses_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_splits(tmp_path, {"train": 60, "test": 9})
    with pytest.raises(LimbeckError, match=message):
        from_images(data_dir=tmp_path, **options)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("images(size=0)", "argument size=0 should be greater than or equal to 1"),
        ("images(validation=1)", "argument validation=1 should be less than 1"),
        ("images(gray=1)", "argument gray=1 should be a valid boolean"),
        ("images", "say which file, directory or data set to read"),
    ],
)
def test_refuses_arguments(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        load(spec)


def test_refuses_labels_that_are_no_class_ids(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    images = [png(image) for image in pixels(6)]
    rows = {"image": [{"bytes": each, "path": None} for each in images], "label": [0, 1, 0, 7, 1, 0]}
    info = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    plain = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict(rows, plain).data.table
    import pyarrow.parquet as pq

    pq.write_table(table.replace_schema_metadata(info.arrow_schema.metadata), file)
    with pytest.raises(
        LimbeckError, match=r"the label 7 in row 4 of '.*train.parquet' is no class id.* 0 to 1"
    ):
        from_images(data_dir=tmp_path)
    rows["label"] = [0.5] * 6
    datasets.Dataset.from_dict(rows).to_parquet(file)
    with pytest.raises(
        LimbeckError, match=r"the column .label. holds decimals, such as 0\.5 in row 1 .*task=.regression."
    ):
        from_images(data_dir=tmp_path)


def test_refuses_a_broken_image(tmp_path: Path) -> None:
    images = [png(image) for image in pixels(12)]
    labels: dict[str, list[int | None]] = {"label": [0, 1] * 6}
    for broken, reason in ((b"nothing", "is in none of the formats"), (images[4][:60], "cannot be read: ")):
        write_parquet(
            tmp_path / "train.parquet", [*images[:4], broken, *images[5:]], labels, {"label": ["a", "b"]}
        )
        with pytest.raises(LimbeckError, match=rf"the image in row 5 of '.*train.parquet' {reason}"):
            from_images(data_dir=tmp_path)


def test_refuses_a_broken_parquet_file(tmp_path: Path) -> None:
    write_splits(tmp_path, {"train": 30, "test": 6})
    file = next(tmp_path.glob("test-*"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(LimbeckError, match=rf"'{file}' cannot be read from row 1 on: "):
        from_images(data_dir=tmp_path)


def test_refuses_a_place_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(
        LimbeckError, match=r"holds neither a folder of images for each class nor a train\.csv"
    ):
        from_images(data_dir=tmp_path)
    with pytest.raises(LimbeckError, match="there is no file or directory"):
        from_images("nowhere", data_dir=tmp_path)


def test_refuses_folders_that_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/a", "train/b", "test/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(png(pixels(1)[0]))
    with pytest.raises(LimbeckError, match=r"the folder '.*test/c' is of no class that the train split has"):
        from_images(data_dir=tmp_path)
    (tmp_path / "test" / "c").rename(tmp_path / "test" / ".c")
    with pytest.raises(LimbeckError, match=r"test' holds no folder of images for each class"):
        from_images(data_dir=tmp_path)
    (tmp_path / "train").rename(tmp_path / "learn")
    with pytest.raises(LimbeckError, match=r"has no split 'train' but 'test'"):
        from_images(data_dir=tmp_path)


def test_a_run_on_images_from_the_command_line(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_splits(tmp_path / "data", {"train": 30, "test": 6})
    train = (
        "train",
        "--model",
        "cnn(channels=[4])",
        "--data-dir",
        "data",
        "--epochs",
        "1",
        "--batch-size",
        "8",
    )
    views = "data.views=crop(padding=1) + cutout(size=2) + color_jitter"
    answer = command(*train, "--data", "images(train=20)", "--set", views, "--out", "run")
    assert answer.code == 0
    assert (tmp_path / "run" / "student.safetensors").exists()
    assert command("evaluate", "run").code == 0
    for spec, reason in (
        ('images(label="kind")', "'kind'; there are: image, label"),
        ('images(memory="100 B")', "holds 0 samples, and a batch has 8; give more memory"),
        ("images(size=8.5)", "argument size=8.5 should be a valid integer"),
        ("cifar100", "'img'; did you mean 'image'?"),
    ):
        answer = command(*train, "--data", spec, "--out", "other")
        assert answer.code == 2
        assert reason in answer.err
        assert answer.err.strip().count("\n") == 0  # datasets before 5.2 writes empty lines
        assert not (tmp_path / "other").exists()


def test_it_says_how_its_inputs_are_made(tmp_path: Path) -> None:
    for number, image in enumerate(pixels(8)):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        (tmp_path / str(number % 2) / f"{number}.png").write_bytes(png(image))
    made = "pixels in [0, 1] (8-bit values divided by 255) of {} images, turned as their EXIF says{}"
    assert from_images(data_dir=tmp_path).preparation == made.format("RGB", "")
    cut = ", scaled bicubically to 4 on the shorter side and cut to the middle 4 x 4"
    source = from_images(data_dir=tmp_path, size=4, gray=True)
    assert source.preparation == made.format("gray", cut)
    assert source.hub is None


def test_a_column_nobody_asked_for_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "note", "label"])
        for number, image in enumerate(pixels(20)):
            (tmp_path / f"{number}.png").write_bytes(png(image))
            writer.writerow([f"{number}.png", number if number < 10 else "late", number % 2])
    assert from_images(data_dir=tmp_path).task.names == ("0", "1")


def write_broken(folder: Path, count: int, broken: int) -> None:
    for number, image in enumerate(pixels(count)):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        content = png(image)
        (folder / "ab"[number % 2] / f"{number:03}.png").write_bytes(
            content[:50] if number < broken else content
        )


def test_images_that_cannot_be_read_are_left_out_if_asked(tmp_path: Path) -> None:
    write_broken(tmp_path, 200, 2)
    with pytest.raises(LimbeckError, match=r"000\.png', cannot be read"):
        from_images(data_dir=tmp_path)
    source = load('images(on_error="skip")', tmp_path)
    assert source.name == 'images(on_error="skip")'
    sizes = [len(part) for part in (source.train, source.validation, source.test) if part is not None]
    assert sum(sizes) == 198
    assert [message.split("'")[3][-7:] for message in source.skipped] == ["000.png", "001.png"]
    assert source.notes[-1].startswith("2 images cannot be read and are left out, such as the image in row 1")
    shown = {image.tobytes() for image in pixels(200)[2:]}
    assert {image.numpy().tobytes() for image in images_of(source.train)} <= shown
    assert (images_of(source.train)[:, 0, 0, 0] >= 0).all()
    streamed = load('images(on_error="skip", memory="30 KB")', tmp_path)
    assert streamed.fingerprint() == source.fingerprint()


def test_too_many_images_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    write_broken(tmp_path, 200, 3)
    with pytest.raises(
        LimbeckError, match="3 of 200 images cannot be read, more than the 1% that may be skip"
    ):
        from_images(data_dir=tmp_path, on_error="skip")


def test_copies_of_an_image_are_on_one_side(tmp_path: Path) -> None:
    shown = pixels(20)
    for number in range(60):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[number % 2] / f"{number:02}.png").write_bytes(png(shown[number % 20]))
    source = from_images(data_dir=tmp_path)
    parts = [
        {image.numpy().tobytes() for image in images_of(part)}
        for part in (source.train, source.validation, source.test)
    ]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len(set().union(*parts)) == 20
    assert source.notes == ()


def test_test_images_that_are_training_images_are_counted(tmp_path: Path) -> None:
    for number, image in enumerate(pixels(20)):
        for split in ("train", "test") if number < 3 else ("train",):
            folder = tmp_path / split / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:02}.png").write_bytes(png(image))
    for memory in ("auto", "5 KB"):
        source = from_images(data_dir=tmp_path, memory=memory)
        assert source.notes[0].startswith("3 of the 3 test samples are in the training data too")


def test_images_of_other_tasks(tmp_path: Path) -> None:
    shown = pixels(40)
    rows: dict[str, Any] = {
        "image": [{"bytes": png(image), "path": None} for image in shown],
        "tags": [["x"] * (number % 2) + ["y"] * (number % 4 == 0) for number in range(40)],
        "age": [float(number) for number in range(40)],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    place = {image.tobytes(): number for number, image in enumerate(shown)}
    several = load('images(label="tags", task="multilabel", train=20, labeled=8)', tmp_path)
    assert several.task.names == ("x", "y")
    assert len(several.train) == 20
    known = (several.train.targets >= 0).all(1)
    assert int(known.sum()) == 8
    ages = load('images(label="age", task="regression")', tmp_path)
    for source in (several, ages):
        for part in (source.train, source.validation, source.test):
            assert part is not None
            for image, target in zip(images_of(part), part.targets.tolist(), strict=True):
                number = place[image.numpy().tobytes()]
                if source is ages:
                    assert target == [number]
                else:
                    assert target in ([number % 2, int(number % 4 == 0)], [-100, -100])


CAMVID = Path(__file__).parents[3].parent / "shared" / "data" / "segmentation" / "camvid"
CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)


@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs ../shared/data/segmentation/camvid")
def test_road_scenes_with_a_label_for_each_class_that_occurs(tmp_path: Path) -> None:
    occurs = {}
    for split, theirs in (("train", "train"), ("validation", "val"), ("test", "test")):
        names = sorted(file.name for file in (CAMVID / theirs).glob("*.jpg"))
        found = []
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *CAMVID_CLASSES])
            for name in names:
                ids = np.unique(
                    np.asarray(Image.open(CAMVID / f"{theirs}annot" / name.replace(".jpg", ".png")))
                )
                found.append([int(label in ids) for label in range(11)])
                writer.writerow([str(CAMVID / theirs / name), *found[-1]])
        occurs[split] = torch.tensor(found)
    labels = ", ".join(f'"{name}"' for name in CAMVID_CLASSES)
    source = load(f'images(label=[{labels}], task="multilabel", size=32)', tmp_path)
    assert source.task.names == CAMVID_CLASSES
    for split, part in (("train", source.train), ("validation", source.validation), ("test", source.test)):
        assert part is not None
        assert torch.equal(part.targets, occurs[split])
        assert source.task.counts(part.targets) == tuple(occurs[split].sum(0).tolist())
    assert [len(found) for found in occurs.values()] == [367, 101, 233]
