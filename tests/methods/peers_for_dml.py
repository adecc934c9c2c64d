"""A network that other tests name as a peer."""

from __future__ import annotations

from torch import nn


def two_classes() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
