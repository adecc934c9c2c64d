"""What image processors make of pixels, beside what they make of them in transformers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck.config import NetworkConfig
from limbeck.data.preparation import Preparation
from limbeck.errors import LimbeckError
from limbeck.processors import ImageSettings, image_settings, processor_of
from limbeck.runs.exports.hf import _processor
from limbeck.runs.huggingface import preparation
from limbeck.tasks import Classification

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
TASK = Classification(("cat", "dog"))
THIRD = 1 / 3
SQUARE = {"height": 24, "width": 24}
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"size": {"height": 20, "width": 28}},
    "ViT, bicubic": {
        "size": SQUARE,
        "resample": 3,
        "image_mean": [0.1, 0.4, 0.5],
        "image_std": [0.2, 0.3, 0.4],
    },
    "ViT, nearest": {"size": {"height": 50, "width": 70}, "resample": 0},
    "ViT as it is": {"do_resize": False},
    "ViT of 0 to 255": {
        "size": SQUARE,
        "do_rescale": False,
        "image_mean": [120.0] * 3,
        "image_std": [60.0] * 3,
    },
    "ViT of -1 to 1": {
        "size": SQUARE,
        "rescale_factor": 1 / 127.5,
        "image_mean": [1.0] * 3,
        "image_std": [1.0] * 3,
    },
    "ViT without normalization": {"size": SQUARE, "do_normalize": False},
    "ViT of raw pixels": {"size": SQUARE, "do_normalize": False, "do_rescale": False},
    "ConvNext": {"size": {"shortest_edge": 21}, "crop_pct": 0.875},
    "ConvNext, large": {"size": {"shortest_edge": 384}},
    "DeiT": {"size": {"height": 32, "width": 32}, "crop_size": SQUARE},
    "DeiT without crop": {"size": {"height": 32, "width": 32}, "crop_size": SQUARE, "do_center_crop": False},
    "CLIP": {"size": {"shortest_edge": 24}, "crop_size": {"height": 23, "width": 17}},
    "Bit": {"size": {"shortest_edge": 30}, "crop_size": SQUARE},
    "MobileViT": {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    "MobileViT, padded": {"size": {"shortest_edge": 21}, "crop_size": {"height": 24, "width": 40}},
    "MobileViT in order": {
        "size": {"shortest_edge": 36},
        "crop_size": SQUARE,
        "do_flip_channel_order": False,
    },
}


def written(folder: Path, name: str, **settings: Any) -> str:
    """A folder with the settings of a processor, and the config of some network."""
    kind = getattr(transformers, f"{name.split(',')[0].split(' ')[0]}ImageProcessor")
    kind(**settings).save_pretrained(folder)
    transformers.ViTConfig(hidden_size=8).save_pretrained(folder)
    return str(folder)


def image(height: int, width: int) -> Tensor:
    """Blurred noise, (3, H, W) uint8, far enough from black and white that no resampling clips it."""
    noise = 0.2 + 0.6 * torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (255 * smooth[0]).round().to(torch.uint8)


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("sides", [(49, 65), (71, 41), (21, 23)])
def test_pixels_are_those_of_the_processor(name: str, sides: tuple[int, int], tmp_path: Path) -> None:
    place, pixels = written(tmp_path, name, **PROCESSORS[name]), image(*sides)
    settings = image_settings(place)
    assert settings is not None
    if "padded" in name and find_spec("torchvision"):  # transformers pads other rows and columns by it
        with pytest.raises(LimbeckError, match="does more to images than to resample, crop"):
            preparation(NetworkConfig(model=f"hf:{place}"), TASK)
        return
    given = processor_of(place)(pixels.numpy(), return_tensors="pt", input_data_format="channels_first")
    theirs = given["pixel_values"][0]
    ours = preparation(NetworkConfig(model=f"hf:{place}"), TASK)(pixels[None].float() / 255)
    assert isinstance(ours, Tensor)
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (settings.mean, settings.std))
    assert ours[0].shape == theirs.shape
    off = ((ours[0] - mean) / std - theirs) * std * 255  # in levels of 256
    assert off.abs().max() < (1e-3 if "as it is" in name or "nearest" in name else 1.6)
    assert off.abs().mean() < 0.4


@pytest.mark.parametrize("name", ["ViT, bicubic", "ConvNext", "DeiT", "MobileViT"])
def test_what_a_student_reads_is_written_for_transformers_as_well(name: str, tmp_path: Path) -> None:
    place = written(tmp_path / "first", name, **PROCESSORS[name])
    settings, reads = image_settings(place), preparation(NetworkConfig(model=f"hf:{place}"), TASK)
    assert settings is not None
    from limbeck.models import Normalization

    again = tmp_path / "again"
    transformers.ViTConfig(hidden_size=8).save_pretrained(again)
    made = _processor(reads, Normalization(settings.mean, settings.std))
    (again / "preprocessor_config.json").write_text(json.dumps(made))
    assert preparation(NetworkConfig(model=f"hf:{again}"), TASK) == reads
    found = image_settings(str(again))
    assert found is not None
    assert found.mean == pytest.approx(settings.mean)
    assert found.std == pytest.approx(settings.std)


def test_another_size_takes_the_place_of_resampling_and_crop(tmp_path: Path) -> None:
    place = written(tmp_path, "MobileViT", **PROCESSORS["MobileViT"])
    asked = preparation(NetworkConfig(model=f"hf:{place}", size=16), TASK)
    assert asked == Preparation(16, resample="bicubic", flipped=True)


def test_settings_are_those_of_the_class_where_the_file_leaves_them_out(tmp_path: Path) -> None:
    written(tmp_path, "ViT")
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    half = (0.5, 0.5, 0.5)
    assert image_settings(str(tmp_path)) == ImageSettings((224, 224), "bilinear", None, False, half, half)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"^the preprocessor_config\.json of '.*' is damaged: Expecting property name"),
        ("[1]", r"^the preprocessor_config\.json of '.*' is damaged: it holds no settings by name$"),
        (
            '{"image_processor_type": "ViTImageProcessor", "resample": 1}',
            r"says resample=1, and limbeck resamples by nearest, bilinear, bicubic \(0, 2, 3\); set one of "
            r"these$",
        ),
        (
            '{"image_processor_type": "CLIPImageProcessor", "size": {"longest_edge": 9}}',
            r"says size=\{'longest_edge': 9\}, and limbeck follows a height and a width, or a shortest_edge$",
        ),
        (
            '{"image_processor_type": "LevitImageProcessor"}',
            "^the image processor of '.*', LevitImageProcessor.*, does more to images than to resample, "
            "crop,",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(text: str, message: str, tmp_path: Path) -> None:
    written(tmp_path, "ViT")
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(LimbeckError, match=message):
        preparation(NetworkConfig(model=f"hf:{tmp_path}"), TASK)


def test_settings_of_sounds_are_none_of_images(tmp_path: Path) -> None:
    written(tmp_path, "ViT")
    (tmp_path / "preprocessor_config.json").write_text(
        '{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}'
    )
    assert image_settings(str(tmp_path)) is None
