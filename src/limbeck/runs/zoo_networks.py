"""Networks of torchvision in a run: what their fetched weights were trained for."""

from __future__ import annotations

from limbeck.models import zoos
from limbeck.runs.network_record import Card
from limbeck.tasks import Detection, Segmentation


def card_of(model: str) -> Card | None:
    """What is known of the outputs of a network that labels pixels or finds objects: their names.

    Args:
        model: as a config names it.
    Returns: None without fetched weights, and for a network of another kind.
    """
    found = zoos.labels_of(model)
    if found is None:
        return None
    task, names = found
    made_for = Detection(names) if task == "detection" else Segmentation(names)
    return Card(model=model, task=made_for.record(), input_shape={}, mean=None, std=None)
