from __future__ import annotations

import torch
from small_training import same, weights
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from limbeck.training.averaging import Averaging


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def moved(model: nn.Module) -> None:
    """Something like a step: weights change, and batch norm sees a batch."""
    model.train()
    model(torch.randn(5, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_it_is_the_average_of_weights_and_statistics_by_the_equation() -> None:
    model = network()
    averaging = Averaging(model, 0.75)
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        moved(model)
        averaging.update()
        now = weights(model)
        expected = now if step == 0 else {k: 0.75 * expected[k] + 0.25 * now[k] for k in now}
    live = weights(model)
    with averaging.in_place():
        found = weights(model)
    for name in ("0.weight", "1.weight", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(found[name], expected[name])
        assert not torch.equal(found[name], live[name])
    assert found["1.num_batches_tracked"] == live["1.num_batches_tracked"] == 4
    assert same(weights(model), live), "afterwards the network is as it was"


def test_it_equals_torchs_own_averaged_model() -> None:
    model = network()
    averaging = Averaging(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)  # type: ignore[no-untyped-call]
    for _ in range(3):
        moved(model)
        averaging.update()
        theirs.update_parameters(model)
    averaging.settle()
    assert isinstance(theirs.module, nn.Module)
    expected = weights(theirs.module)
    for name, value in weights(model).items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name]), name


def test_a_frozen_weight_is_its_own_average_to_the_last_bit() -> None:
    model = network()
    before = weights(model)["0.weight"]
    averaging = Averaging(model, 0.999)
    for _ in range(20):
        averaging.update()
    averaging.settle()
    assert torch.equal(weights(model)["0.weight"], before)


def test_it_goes_on_from_a_checkpoint() -> None:
    torch.manual_seed(1)
    model = network()
    first = Averaging(model, 0.8)
    for _ in range(3):
        moved(model)
        first.update()
    second = Averaging(model, 0.8)
    second.load_state_dict(first.state_dict())
    moved(model)
    first.update()
    second.update()
    with first.in_place():
        one = weights(model)
    with second.in_place():
        other = weights(model)
    assert same(one, other)
