from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError
from limbeck.teachers import LightweightTeacher, SoftTargetBank


def small(**arguments: object) -> LightweightTeacher:
    settings = {"images_per_class": 12, "batch_size": 10, **arguments}
    return LightweightTeacher(4, **settings)  # type: ignore[arg-type]


def train(teacher: LightweightTeacher, epochs: int, lr: float) -> None:
    optimizer = torch.optim.Adam(teacher.parameters(), lr, fused=True)
    for epoch in range(epochs):
        for batch in teacher.batches(epoch):
            assert batch.targets is not None
            cross_entropy(teacher(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()


def unseen_images(teacher: LightweightTeacher) -> tuple[Tensor, Tensor]:
    test = teacher.data.test
    assert test is not None
    images = test.samples.render(teacher.data.views, test.index, torch.zeros_like(test.index))
    assert isinstance(images, Tensor)
    return images, test.targets


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = small(seed=1), small(seed=1), small(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for one, two, alike in ((first, again, True), (first, other, False)):
        pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == alike
        assert (one.data.fingerprint() == two.data.fingerprint()) == alike
    assert first.key == other.key, "the phase says the seed"


@pytest.mark.parametrize(
    "change", [{"images_per_class": 13}, {"batch_size": 11}, {"model": "cnn(channels=[4])"}]
)
def test_the_key_tells_what_ends_otherwise(change: dict[str, object]) -> None:
    assert small(**change).key != small().key


def test_by_default_it_is_a_lenet_5_of_600_images_a_class() -> None:
    teacher = LightweightTeacher(10)
    assert sum(parameter.numel() for parameter in teacher.parameters()) == 61_706
    assert teacher.images_per_class == 600


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    teacher = small()
    orders = [torch.cat([batch.index for batch in teacher.batches(epoch)]) for epoch in (0, 1, 0)]  # type: ignore[misc]
    assert [len(batch) for batch in teacher.batches(0)] == [10, 10, 10, 10, 8]
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert orders[0].sort().values.tolist() == list(range(48))


def test_brightness_and_contrast_do_not_matter() -> None:
    teacher = small()
    assert isinstance(teacher.data.train.samples, Resident)
    images = teacher.data.train.samples.inputs[:5].float() / 255  # type: ignore[index]
    torch.testing.assert_close(teacher(0.2 + 0.5 * images), teacher(images), rtol=1e-3, atol=1e-4)
    assert teacher(torch.zeros(1, 1, 32, 32)).isfinite().all()


def test_the_accuracy_is_of_unseen_scans_and_changes_nothing() -> None:
    teacher = small(model="cnn(channels=[4, 8])").train()
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    figures = {float(teacher.unseen_accuracy(step)) for step in range(5)}
    assert len(figures) > 1, "each step looks at other images"
    assert teacher.unseen_accuracy(3) == teacher.unseen_accuracy(3)
    assert teacher.training
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())

    images, targets = unseen_images(teacher)
    exact = (teacher.eval()(images).argmax(1) == targets).float().mean().item()
    assert sum(float(teacher.unseen_accuracy(step)) for step in range(200)) / 200 == pytest.approx(
        exact, abs=0.03
    )


def test_the_bank_holds_its_answers_and_the_images_are_forgotten() -> None:
    teacher = small()
    train(teacher, epochs=20, lr=3e-3)
    assert "data" in vars(teacher)
    bank, again = SoftTargetBank(4, 30), SoftTargetBank(4, 30)
    teacher.fill(bank)
    teacher.fill(again)
    assert "data" not in vars(teacher)
    assert torch.equal(bank.logits, again.logits)
    assert (bank.logits.argmax(2) == torch.arange(4)[:, None]).all()
    assert len({tuple(row) for row in bank.logits[0].tolist()}) == 30, "every image is another"


def test_refuses_what_cannot_be_reused() -> None:
    with pytest.raises(LimbeckError, match="a name of `limbeck models`, not 'my:net'"):
        small(model="my:net")
    with pytest.raises(LimbeckError, match="no MNIST files at 'nowhere'"):
        small(glyphs="nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("classes", [10, 100])
def test_five_epochs_make_it_right_on_nine_of_ten_unseen_images(classes: int) -> None:
    teacher = LightweightTeacher(classes)
    train(teacher, epochs=5, lr=1e-3)
    images, targets = unseen_images(teacher)
    with torch.no_grad():
        right = torch.cat([teacher(part).argmax(1) for part in torch.split(images, 500)]) == targets
    assert right.float().mean() > 0.9
    teacher.fill(SoftTargetBank(classes))
