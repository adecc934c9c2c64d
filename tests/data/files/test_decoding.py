from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.data.files.decoding import Decoder, located, opaque
from limbeck.errors import LimbeckError
from picture_files import pixels, png

HERE = Path()


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_bytes_a_name_and_what_datasets_keeps_are_the_same(tmp_path: Path) -> None:
    image = pixels(1, 5, 7)[0]
    file = png(image)
    (tmp_path / "a.png").write_bytes(file)
    for value in (
        file,
        "a.png",
        str(tmp_path / "a.png"),
        {"bytes": file, "path": "gone.png"},
        {"bytes": None, "path": "a.png"},
    ):
        assert np.array_equal(Decoder()(value, tmp_path, "row 1"), image)


def test_modes_become_rgb_or_gray() -> None:
    red = Image.new("RGB", (3, 2), (204, 0, 0))
    for picture in (red, red.convert("P"), red.convert("RGBA")):
        made = Decoder()(saved(picture), HERE, "row 1")
        assert made.shape == (3, 2, 3)
        assert made[:, 0, 0].tolist() == [204, 0, 0]
    gray = Image.new("L", (3, 2), 90)
    assert Decoder()(saved(gray), HERE, "row 1")[:, 0, 0].tolist() == [90] * 3
    assert Decoder(gray=True)(saved(gray), HERE, "row 1").tolist() == [[[90] * 3] * 2]
    assert Decoder(gray=True)(saved(red), HERE, "row 1")[0, 0, 0] == 61  # 0.299 of 204


def test_a_photograph_held_on_its_side_is_turned() -> None:
    picture = Image.new("RGB", (16, 8))
    picture.paste((255, 255, 255), (0, 0, 8, 8))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    made = Decoder()(saved(picture, "JPEG", exif=exif), HERE, "row 1")
    assert made.shape == (3, 16, 8)
    assert made[:, :6].min() > 200
    assert made[:, 10:].max() < 50


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"no image", "the image in row 3 is in none of the formats JPEG, PNG"),
        (b"", "the image in row 3 is in none of the formats"),
        (png(pixels(1)[0])[:70], "the image in row 3 cannot be read: "),
        ("nowhere.png", "the image in row 3, 'nowhere.png', cannot be read: No such file or directory"),
        (None, "there is no image in row 3 but None"),
        (5, "there is no image in row 3 but 5"),
        ({"bytes": None, "path": None}, "there is no image in row 3 but {'bytes': None"),
        (
            saved(Image.fromarray(np.full((4, 4), 40_000, np.uint16))),
            "the image in row 3 has pixels of mode 'I;16'; they should have 8 bits",
        ),
    ],
)
def test_refuses(value: object, message: str) -> None:
    with pytest.raises(LimbeckError) as error:
        Decoder()(value, HERE, located(value, HERE, "row 3"))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "JPEG", "GIF", "TIFF"])
def test_a_file_that_is_cut_short_is_named(kind: str) -> None:
    file = saved(Image.fromarray(pixels(1, 32, 32)[0].transpose(1, 2, 0)), kind)
    assert Decoder()(file, HERE, "row 3").shape == (3, 32, 32)
    for part in (3, 5, 8):
        with pytest.raises(LimbeckError, match=r"the image in row 3 (cannot be read: .|is in none of)"):
            Decoder()(file[: len(file) * part // 10], HERE, "row 3")


def test_flipped_bytes_in_a_webp_give_pixels_or_are_named() -> None:
    file = saved(Image.fromarray(pixels(1, 64, 64)[0].transpose(1, 2, 0)), "WEBP", lossless=True)
    draws, messages = np.random.default_rng(0), []
    for _ in range(60):
        damaged = bytearray(file)
        for place in draws.integers(30, len(file), 40):
            damaged[place] ^= 0xFF
        try:
            assert Decoder()(bytes(damaged), HERE, "row 3").shape == (3, 64, 64)
        except LimbeckError as error:
            messages.append(str(error))
    assert messages
    assert all(message.startswith("the image in row 3 cannot be read: ") for message in messages)


def test_a_frame_that_cannot_be_decoded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise EOFError("failed to decode next frame in WebP file")

    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile.load", load)
    with pytest.raises(LimbeckError, match="the image in row 3 cannot be read: failed to decode next frame"):
        Decoder()(saved(Image.new("RGB", (4, 4)), "WEBP"), HERE, "row 3")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_shown_over_white(mode: str) -> None:
    layers = np.zeros((2, 3, 4), np.uint8)
    layers[..., :3] = 90
    layers[..., 3] = [[255, 0, 128], [255, 255, 0]]
    picture = Image.fromarray(layers)
    if mode == "P":  # a palette with one color that is clear
        picture = Image.fromarray(np.where(layers[..., 3] > 0, 90, 0).astype(np.uint8))
        picture.putpalette([value for level in range(256) for value in (level,) * 3])
        picture.info["transparency"] = 0
    file = saved(picture if mode == "P" else picture.convert(mode))
    half = 90 if mode == "P" else round(90 * 128 / 255 + 127)
    for gray in (False, True):
        assert Decoder(gray=gray)(file, Path(), "row 1")[0].tolist() == [[90, 255, half], [90, 90, 255]]


def test_an_opaque_picture_is_untouched() -> None:
    layers = np.full((2, 2, 4), 255, np.uint8)
    layers[..., :3] = np.arange(12).reshape(2, 2, 3)
    picture = Image.fromarray(layers)
    assert opaque(picture) is picture
    assert Decoder()(saved(picture), Path(), "row 1").tolist() == layers[..., :3].transpose(2, 0, 1).tolist()
