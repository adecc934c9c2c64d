"""Inputs as a page shows them."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from limbeck.data import Source
from limbeck.data.views import Unchanged
from limbeck.evaluation.results import Evaluation
from limbeck.outputs import Inputs
from limbeck.report.page import Gallery, Sample
from limbeck.tasks import Example
from limbeck.tasks.detection.findings import BoxExample
from limbeck.tasks.restoration.findings import PatchExample
from limbeck.tasks.segmentation.findings import PixelExample

LARGEST = 128
"""Pixels that the longer side of a picture has at most."""

BOXED = 240
"""The same of a picture with boxes, whose lines have to be told apart."""

BOX_COLORS = ("#ffd400", "#00e5ff", "#ff3df2", "#76ff03", "#ff6d00", "#ffffff")
"""Of the boxes of each class, in turn; bright, as most pictures are dark."""

MOST_VALUES = 12
"""Features that a row of a table shows."""


def examples(found: Evaluation, source: Source) -> Gallery | None:
    """The inputs on which student and teacher differ most; None if there are none to show.

    Args:
        found: the evaluation that names them.
        source: the data that it was made on.
    """
    split = source.test if found.split == "test" else source.validation
    named = found.agreement.examples if found.agreement else ()
    if split is None or not named:
        return None
    index = split.index[torch.tensor([each.index for each in named])]
    views = Unchanged() if source.task.spatial else source.views  # whole images, as they are measured
    inputs = split.samples.render(views, index, torch.full_like(index, views.base))
    says = [_said(each) for each in named]
    if isinstance(inputs, Tensor) and source.kind == "image" and inputs.shape[1] in (1, 3):
        samples = [
            Sample(said, picture=_picture(image, each), label=_label(each))
            for said, image, each in zip(says, inputs, named, strict=True)
        ]
    elif texts := _texts(inputs, source):
        samples = [Sample(said, text=text) for said, text in zip(says, texts, strict=True)]
    else:
        return None
    caption = "Samples that the teacher gets right and its student wrong, the worst mistakes first."
    if isinstance(named[0], PatchExample):
        caption = (
            "Parts of the images on which the student loses most beside the teacher, by PSNR. From left to "
            "right: bicubic enlargement, student, teacher and target."
        )
    if isinstance(named[0], PixelExample):
        caption = (
            "Samples on which the student loses most pixels that the teacher gets right. From left to right: "
            "input, label (white where a pixel does not count), student and teacher."
        )
    if isinstance(named[0], BoxExample):
        caption = (
            "Samples on which the student misses most objects that the teacher finds. From left to right: "
            "boxes of the label, of student and of teacher, a color for each class; of both networks those "
            "with a score of 0.3 or more."
        )
    return Gallery(samples, caption)


def _label(example: Example) -> str:
    """What a picture is, for those who do not see it."""
    return example.target if isinstance(example, PatchExample) else f"a sample of {example.target}"


def _said(example: Example) -> dict[str, str]:
    """What is said below an input; the teacher's answer only where it differs from the target."""
    teacher = {} if example.teacher == example.target else {"teacher": example.teacher}
    return {"target": example.target, "student": example.student, **teacher}


def _picture(image: Tensor, example: Example) -> str:
    """A data URI of an image (C, H, W) of pixels in [0, 1], with the maps of an example beside it; or of what
    an example has itself to show."""
    file = io.BytesIO()
    if isinstance(example, PatchExample):
        _patches(example).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    pixels = (255 * image.float().clamp(0, 1)).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)
    picture = Image.fromarray(pixels.cpu().numpy())
    picture.thumbnail((LARGEST, LARGEST))
    if isinstance(example, PixelExample):
        picture = _beside(picture, example)
    if isinstance(example, BoxExample):
        picture = _boxed(Image.fromarray(pixels.cpu().numpy()), example)
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _patches(example: PatchExample) -> Image.Image:
    """The four pictures of a part of an image in a row, twice as large."""
    height, width = example.size
    strip = Image.new("RGB", (4 * width + 6, height), "white")
    for place, levels in enumerate(example.levels()):
        strip.paste(Image.frombytes("RGB", (width, height), levels), (place * (width + 2), 0))
    return strip.resize((2 * strip.width, 2 * strip.height), Image.Resampling.NEAREST)


def _beside(picture: Image.Image, example: PixelExample) -> Image.Image:
    """The picture with label, student's and teacher's map to its right."""
    height, width = example.size
    strip = Image.new("RGB", (4 * width + 6, height), "white")
    strip.paste(picture.resize((width, height)))
    for place, ids in enumerate(example.classes(), 1):
        colored = Image.frombytes("P", (width, height), bytes(ids))
        colored.putpalette([level for number in range(256) for level in _color(number)])
        strip.paste(colored.convert("RGB"), (place * (width + 2), 0))
    return strip


def _boxed(picture: Image.Image, example: BoxExample) -> Image.Image:
    """The picture three times, with the boxes of label, student and teacher."""
    factor = BOXED / max(picture.size)
    width, height = (max(1, round(factor * side)) for side in picture.size)
    strip = Image.new("RGB", (3 * width + 4, height), "white")
    for place, boxes in enumerate(example.boxes):
        shown = picture.resize((width, height))
        draw = ImageDraw.Draw(shown)
        for *corners, what in boxes:
            x1, y1, x2, y2 = (factor * corner for corner in corners)
            draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=BOX_COLORS[what % len(BOX_COLORS)])
        strip.paste(shown, (place * (width + 2), 0))
    return strip


def _color(number: int) -> tuple[int, int, int]:
    """The color of a class as Pascal VOC paints masks; white for 255."""
    if number == 255:
        return 255, 255, 255
    levels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            levels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return levels[0], levels[1], levels[2]


def _texts(inputs: Inputs, source: Source) -> list[str]:
    """Texts as they were before they became tokens, rows of a table as numbers; none for other inputs."""
    if isinstance(inputs, Tensor) and source.kind == "table":
        more = ", …" if inputs.shape[1] > MOST_VALUES else ""
        return [", ".join(f"{value:.4g}" for value in row[:MOST_VALUES].tolist()) + more for row in inputs]
    if isinstance(inputs, Tensor) or "tokenizer.json" not in source.files:
        return []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(source.files["tokenizer.json"])
    ids = inputs["input_ids"] * inputs["attention_mask"]  # padding is the special token 0, which is left out
    return [text.strip() for text in tokenizer.decode_batch(ids.tolist(), skip_special_tokens=True)]
