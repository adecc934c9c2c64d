"""What networks give for a batch, as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from limbeck.outputs import Batch, Inputs, Mixture, Outputs, joined
from limbeck.tasks import Rows


def with_views(
    network: Callable[[Inputs], Outputs], batch: Batch, views: Sequence[str], *, together: bool
) -> Outputs:
    """A network's outputs for a batch and its further views.

    Args:
        network: a function that gives the outputs.
        batch: with the inputs of the views.
        views: names of the further views that are read.
        together: whether all go through the network in one forward, not in one for each.
    """
    if not views:
        return network(batch.inputs)
    if not together or any(isinstance(batch.views[name], Mixture) for name in views):
        return network(batch.inputs).replace(views={name: network(batch.views[name]) for name in views})
    seen = [batch.inputs, *(batch.views[name] for name in views)]
    outputs, size = network(joined(seen)), len(batch)
    first, *further = (
        outputs.map(lambda tensor, place=place: tensor[place * size : (place + 1) * size])  # type: ignore[misc]
        for place in range(len(seen))
    )
    return first.replace(views=dict(zip(views, further, strict=True)))


def in_rows(outputs: Outputs, rows: Rows) -> Outputs:
    """Outputs as rows, with those of further views and of other teachers."""
    inside = {
        field: {name: in_rows(each, rows) for name, each in outputs[field].items()}
        for field in ("views", "named")
        if field in outputs
    }
    outputs = rows.of(outputs)
    return outputs.replace(**inside) if inside else outputs


def samples_as_rows(batch: Batch) -> Rows:
    """The rows of a batch that a phase made for itself: its samples, whatever the task."""
    return Rows(len(batch), batch.targets)
