"""Files that say where the objects in images are: COCO JSON, VOC XML and YOLO text."""

from __future__ import annotations

from limbeck.data.files.boxes.layout import FORMATS, read

__all__ = ["FORMATS", "read"]
