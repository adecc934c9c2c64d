"""Stand-ins for timm and torchvision: as much of them as the doors use, without installing either."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from torch import Tensor, nn


class Net(nn.Module):
    """A network that remembers what it was asked for."""

    def __init__(self, channels: int, num_classes: int, **asked: Any) -> None:
        super().__init__()
        self.asked = asked
        self.conv = nn.Conv2d(channels, 4, 3)
        self.fc = nn.Linear(4, num_classes)
        self.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.3, 0.2, 0.1)}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        return self.fc(self.conv(images).mean((2, 3)))  # type: ignore[no-any-return]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `import timm` and `import torchvision` find the stand-ins."""
    monkeypatch.setitem(sys.modules, "timm", _timm())
    monkeypatch.setitem(sys.modules, "torchvision", _torchvision())


def _timm() -> ModuleType:
    def create_model(name: str, in_chans: int = 3, num_classes: int = 1000, **asked: Any) -> Net:
        if "img_size" in asked:
            raise TypeError("__init__() got an unexpected keyword argument 'img_size'\nand a second line")
        return Net(in_chans, num_classes, name=name, **asked)

    names = ["resnet18", "vit_tiny_patch16_224"]
    module = ModuleType("timm")
    vars(module).update(
        create_model=create_model,
        list_models=lambda: names,
        is_model=lambda name: name.split(".")[0] in names,
    )
    return module


def _torchvision() -> ModuleType:
    def get_model(name: str, num_classes: int = 1000, **asked: Any) -> Net:
        if "weights" in asked and num_classes != 1000:
            raise ValueError(
                f"The parameter 'num_classes' expected value 1000 but got {num_classes} instead."
            )
        return Net(3, num_classes, name=name, **asked)

    transforms = SimpleNamespace(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    weights = SimpleNamespace(__members__={"DEFAULT": SimpleNamespace(transforms=lambda: transforms)})
    models: Any = SimpleNamespace(
        get_model=get_model,
        get_model_weights=lambda name: weights,
        list_models=lambda module: module.names,
        names=["googlenet", "inception_v3", "resnet18"],
        segmentation=SimpleNamespace(names=["deeplabv3_resnet50"]),
        detection=SimpleNamespace(names=["ssdlite320_mobilenet_v3_large"]),
    )
    module = ModuleType("torchvision")
    vars(module).update(models=models)
    return module
