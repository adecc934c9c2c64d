from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_setting import make_setting
from mixtures import at_step, wrapper_of
from torch import Tensor, nn

import limbeck
from limbeck import Distiller, losses
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Networks
from limbeck.methods.parts.mixing import partners
from limbeck.outputs import UNLABELED

OBJECTIVE = "mixup(0.3*ce + 0.7*kd(temperature=2), alpha=0.5)"


def test_both_networks_see_the_mixtures_and_the_labels_are_soft() -> None:
    setting = make_setting(OBJECTIVE)
    distiller = setting.distiller(OBJECTIVE)
    batch = at_step(setting)
    mixup = wrapper_of(distiller)
    assert isinstance(batch.inputs, Tensor)
    made = mixup.collect(batch, Networks(distiller.student, distiller.teachers))
    order = partners(torch.arange(16), mixup.draws, 7)
    assert sorted(order.tolist()) == list(range(16)), "each sample is the partner of one"
    assert isinstance(made.inputs, Tensor)
    others = batch.inputs[order]
    share = ((made.inputs - others) / (batch.inputs - others))[order != torch.arange(16)]
    s = share.median().item()
    assert 0 < s < 1
    torch.testing.assert_close(share, torch.full_like(share, s), rtol=0, atol=2e-3)
    expected = s * batch.inputs + (1 - s) * others
    torch.testing.assert_close(made.inputs, expected, atol=1e-5, rtol=0)
    assert made.view is None, "no cached answer is taken for theirs"

    found = distiller(batch)
    ours, theirs = distiller.student(made.inputs), setting.teacher.eval()(made.inputs)
    soft = s * F.one_hot(setting.targets, 5) + (1 - s) * F.one_hot(setting.targets[order], 5)
    torch.testing.assert_close(found["mixup.ce"], F.cross_entropy(ours, soft), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found["mixup.kd"], losses.kd(ours, theirs, temperature=2.0), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(found.total, 0.3 * found["mixup.ce"] + 0.7 * found["mixup.kd"])


def test_the_draws_are_a_function_of_the_step() -> None:
    setting = make_setting(OBJECTIVE)
    distiller = setting.distiller(OBJECTIVE)
    values = [distiller(at_step(setting, step)).total.item() for step in (3, 4, 3)]
    assert values[0] == values[2] != values[1]


def test_in_eval_mode_nothing_is_mixed() -> None:
    setting = make_setting(OBJECTIVE)
    mixing, plain = setting.distiller(OBJECTIVE), setting.distiller("0.3*ce + 0.7*kd(temperature=2)")
    batch = at_step(setting)
    assert torch.equal(mixing.eval()(batch).total, plain.eval()(batch).total)
    assert not torch.equal(mixing.train()(batch).total, plain.train()(batch).total)


def test_a_missing_label_counts_for_nothing() -> None:
    setting = make_setting("mixup(ce)")
    distiller = setting.distiller("mixup(ce)")
    targets = torch.full((16,), UNLABELED)
    assert distiller(at_step(setting, targets=targets))["mixup.ce"] == 0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "ce + mixup(kd)",
            "mixup exchanges the samples that all methods learn from, so it wraps the whole objective, such "
            "as mixup(0.1*ce + 0.9*kd); here it is a part of 'ce + mixup(kd)'",
        ),
        (
            "mixup(cutmix(ce + kd))",
            "mixup shows mixtures of samples, and cutmix keeps something for each sample or makes inputs of "
            "its own; use methods that compare outputs for what both networks see, such as ce and kd",
        ),
        (
            "mixup(ce + crd)",
            "mixup shows mixtures of samples, and crd keeps something for each sample or makes inputs of "
            "its own; use methods that compare outputs for what both networks see, such as ce and kd",
        ),
    ],
)
def test_what_it_cannot_wrap_or_stand_in_is_refused(objective: str, message: str) -> None:
    with pytest.raises(LimbeckError) as error:
        make_setting("kd").distiller(objective)
    assert str(error.value) == message


def test_inputs_that_cannot_be_added_up_are_refused() -> None:
    tokens = torch.zeros(2, 5, dtype=torch.int64)
    network = nn.Sequential(nn.Embedding(3, 4), nn.Flatten(), nn.Linear(20, 3))
    with pytest.raises(
        LimbeckError, match=r"^mixup adds up inputs of floats.* are integers; of texts, mixkd"
    ):
        Distiller(network, None, "mixup(ce)", example=tokens)


def test_a_cache_is_refused_in_one_sentence(tmp_path: object) -> None:
    with pytest.raises(LimbeckError) as error:
        limbeck.distill(
            student="mlp(hidden=[4])",
            teacher=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            objective="mixup(ce + kd)",
            cache_teacher="logits",
            settings={"teacher.trust": True},
            out=f"{tmp_path}/run",
            display=False,
        )
    assert str(error.value) == (
        "mixup shows the teacher mixtures of samples, for which a cache has no answers; leave out "
        "cache_teacher (--cache-teacher)"
    )
