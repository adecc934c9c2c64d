from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck import Batch, LimbeckError
from limbeck.teachers.reloadable import Reloadable

EXAMPLE = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def test_it_is_made_again_opened_and_moved_as_it_was() -> None:
    teacher = Reloadable(network(), None, network)
    teacher.open(EXAMPLE, ("embedding",))
    first = teacher.live
    before = first(Batch(EXAMPLE))
    assert teacher.held
    teacher.release()
    assert not teacher.held
    after = teacher.live(Batch(EXAMPLE))
    assert teacher.live is not first
    assert list(after) == ["logits", "embedding"]
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.embedding, before.embedding)


def test_it_is_opened_anew_when_it_is_made_again() -> None:
    teacher = Reloadable(network(), None, network)
    teacher.open(EXAMPLE, ())
    teacher.release()
    teacher.open(EXAMPLE, ("embedding",))
    assert not teacher.held
    assert list(teacher.live(Batch(EXAMPLE))) == ["logits", "embedding"]


def test_a_move_while_it_was_let_go_of_is_made_up_for() -> None:
    teacher = Reloadable(network(), None, network)
    teacher.open(EXAMPLE, ())
    teacher.release()
    teacher.apply(lambda tensor: 2 * tensor)
    moved = dict(teacher.live.network.named_parameters())
    for name, parameter in network().named_parameters():
        assert torch.equal(moved[name], 2 * parameter)


def test_without_a_way_to_make_it_again_it_stays() -> None:
    teacher = Reloadable(network(), None, None)
    teacher.open(EXAMPLE, ())
    live = teacher.live
    teacher.release()
    assert teacher.held
    assert teacher.live is live


def test_another_network_is_refused() -> None:
    teacher = Reloadable(network(), None, lambda: network(1))
    teacher.open(EXAMPLE, ())
    teacher.release()
    with pytest.raises(LimbeckError, match="weights on disk have changed since the run began"):
        teacher.live  # noqa: B018
    assert not teacher.held
