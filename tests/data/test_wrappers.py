from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from class_counts import class_counts
from limbeck import data
from limbeck.data import Source, imbalanced, load, noisy_labels
from limbeck.errors import LimbeckError

COUNTS = (40, 30, 20, 10)


def source(counts: tuple[int, ...] = COUNTS, unlabeled: int = 0, name: str = "rows") -> Source:
    """Rows that hold their position, in classes of these sizes; some more have no label."""
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    targets = torch.cat([targets, torch.full((unlabeled,), -100)])
    held = torch.zeros(len(counts), 1), torch.arange(len(counts))
    rows = torch.arange(len(targets), dtype=torch.float32)[:, None]
    return data.from_tensors(rows, targets, validation=held, test=held, name=name)


def confusion(clean: Source, noisy: Source) -> Tensor:
    """(C, C) how many of the class in the row bear the label in the column."""
    labeled = clean.train.targets >= 0
    cells = clean.train.targets[labeled] * clean.task.width + noisy.train.targets[labeled]
    return cells.bincount(minlength=clean.task.width**2).view(clean.task.width, -1)


class TestNoisyLabels:
    def test_pairs_are_flipped_to_the_next_class(self) -> None:
        clean = source()
        assert confusion(clean, noisy_labels(clean, rate=0.2, kind="pair")).tolist() == [
            [32, 8, 0, 0],
            [0, 24, 6, 0],
            [0, 0, 16, 4],
            [2, 0, 0, 8],
        ]

    def test_symmetric_noise_spreads_over_the_other_classes(self) -> None:
        clean = source((3000, 3000, 3000))
        found = confusion(clean, noisy_labels(clean, rate=0.4))
        assert found.diag().tolist() == [1800] * 3
        wrong = found[~torch.eye(3, dtype=torch.bool)]
        assert (wrong - 600).abs().max() < 70, "within four standard deviations of 17"

    @pytest.mark.parametrize("rate", [0.0, 0.17, 0.5, 0.999])
    @pytest.mark.parametrize("kind", ["symmetric", "pair"])
    def test_as_many_are_wrong_as_the_rate_says(self, rate: float, kind: Any) -> None:
        clean = source((13, 7, 22), unlabeled=9)
        noisy = noisy_labels(clean, rate=rate, kind=kind)
        wrong = noisy.train.targets != clean.train.targets
        assert wrong.sum() == round(rate * 42)
        assert (noisy.train.targets[-9:] == -100).all()
        of_each = clean.train.targets[wrong].bincount(minlength=3)
        assert (of_each - rate * torch.tensor([13, 7, 22])).abs().max() < 1

    def test_only_training_labels_change(self) -> None:
        clean = source()
        noisy = noisy_labels(clean, rate=0.4, seed=1)
        assert noisy.validation is clean.validation
        assert noisy.test is clean.test
        assert noisy.train.samples is clean.train.samples
        assert torch.equal(noisy.train.index, clean.train.index)
        assert (noisy.mean, noisy.std, noisy.views) == (clean.mean, clean.std, clean.views)
        assert class_counts(clean.train, 4).tolist() == list(COUNTS), "the source itself is left as it was"
        assert clean.noise is None
        assert noisy.noise is not None
        assert noisy.noise.startswith('noisy_labels(rate=0.4, kind="symmetric", seed=1) with labels ')
        assert noisy.noise == noisy_labels(source(), rate=0.4, seed=1).noise

    def test_the_same_noise_on_other_samples_is_another(self) -> None:
        first, other = (noisy_labels(load(f"digits(labeled={number})"), rate=0.3) for number in (200, 300))
        assert first.noise != other.noise

    def test_no_noise_is_none(self) -> None:
        assert noisy_labels(source(), rate=0).noise is None
        assert noisy_labels(source(), rate=0).fingerprint() == source().fingerprint()

    def test_the_seed_decides(self) -> None:
        first, again, other = (
            noisy_labels(source(), rate=0.4, seed=seed).train.targets for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_no_global_random_state_is_used(self) -> None:
        before = torch.get_rng_state()
        noisy_labels(source(), rate=0.4)
        imbalanced(source(), ratio=2)
        assert torch.equal(torch.get_rng_state(), before)

    def test_twice_is_refused(self) -> None:
        with pytest.raises(LimbeckError, match=r"the labels of noisy_labels.* are noisy already"):
            noisy_labels(noisy_labels(source(), rate=0.1), rate=0.1)

    def test_nothing_to_spoil_is_refused(self) -> None:
        targets = torch.full((8,), -100)
        bare = data.from_tensors(torch.rand(8, 2), targets, validation=None, num_classes=3)
        with pytest.raises(LimbeckError, match="no training sample has a label to learn from"):
            noisy_labels(bare, rate=0.1)
        with pytest.raises(LimbeckError, match="no training sample has a label to learn from"):
            imbalanced(bare, ratio=2)


class TestImbalanced:
    def test_an_exponential_profile(self) -> None:
        kept = imbalanced(source((1000,) * 5), ratio=100)
        assert class_counts(kept.train, 5).tolist() == [1000, 316, 100, 31, 10]

    @pytest.mark.parametrize(("classes", "sizes"), [(4, [70, 70, 10, 10]), (5, [70, 70, 70, 10, 10])])
    def test_a_step(self, classes: int, sizes: list[int]) -> None:
        kept = imbalanced(source((70,) * classes), ratio=7, profile="step")
        assert class_counts(kept.train, classes).tolist() == sizes

    def test_unequal_classes_are_thinned_out_by_the_same_factors(self) -> None:
        assert class_counts(imbalanced(source(), ratio=8).train, 4).tolist() == [40, 15, 5, 1]

    def test_what_is_kept_stays_what_it_was(self) -> None:
        whole = source(unlabeled=5)
        kept = imbalanced(whole, ratio=4, seed=3)
        assert kept.train.positions == whole.train.positions == 105
        assert torch.equal(kept.train.targets, whole.train.targets[kept.train.index])
        assert kept.train.index[-5:].tolist() == [100, 101, 102, 103, 104], "samples without a label stay"
        assert (kept.validation, kept.test) == (whole.validation, whole.test)
        assert (kept.mean, kept.std) == (whole.mean, whole.std)

    def test_the_seed_decides(self) -> None:
        first, again, other = (imbalanced(source(), ratio=4, seed=seed).train.index for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_noise_is_kept_in_proportion(self) -> None:
        """The two wrappers do not draw the same samples when they have the same seed."""
        clean = source((1000, 1000))
        kept = imbalanced(noisy_labels(clean, rate=0.4), ratio=2).train
        share = (kept.targets != clean.train.targets[kept.index]).double().mean()
        assert share.item() == pytest.approx(0.4, abs=0.05)

    def test_a_class_that_would_be_empty_is_refused(self) -> None:
        with pytest.raises(LimbeckError, match=r"ratio=11 leaves class '3' of rows none of its 10 training"):
            imbalanced(source(), ratio=11)


class TestNotation:
    def test_a_data_set_inside_another(self) -> None:
        found = load("imbalanced(noisy_labels(digits(labeled=500), rate=0.4, seed=2), ratio=5)")
        assert class_counts(found.train, 10).sum() < 500
        inner = load("noisy_labels(digits(labeled=500), rate=0.4, seed=2)")
        assert found.noise == inner.noise
        assert found.name == (
            'imbalanced(noisy_labels(digits(labeled=500, seed=0), rate=0.4, kind="symmetric", seed=2), '
            'ratio=5, profile="exponential", seed=0)'
        )
        assert load(found.name).fingerprint() == found.fingerprint()

    def test_the_directory_is_for_the_innermost(self, tmp_path: Path) -> None:
        rows = "\n".join(f"{number},{number % 2}" for number in range(60))
        (tmp_path / "train.csv").write_text(f"size,label\n{rows}\n")
        found = load("imbalanced(table, ratio=3)", tmp_path)
        assert class_counts(found.train, 2).tolist() == [19, 6]
        with pytest.raises(LimbeckError, match="data set 'digits' has no use for data_dir"):
            load("noisy_labels(digits, rate=0.1)", tmp_path)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("noisy_labels(rate=0.4)", r"takes one data set and then arguments by name; here it is noisy_l"),
            ("noisy_labels(digits, 0.4)", r"takes one data set and then arguments by name"),
            ('noisy_labels("digits", rate=0.4)', r"takes one data set and then arguments by name"),
            ("noisy_labels(digits)", "data set 'noisy_labels' needs rate"),
            ("noisy_labels(digit, rate=0.4)", "unknown data set 'digit'; did you mean 'digits'"),
            ("noisy_labels(digits, rat=0.4)", "unknown argument of noisy_labels 'rat'; did you mean 'rate'"),
            ("noisy_labels(digits, rate=1)", r"the argument rate=1 should be less than 1"),
            ("noisy_labels(digits, rate=-0.1)", "rate=-0.1 should be greater than or equal to 0"),
            ('noisy_labels(digits, rate=0.4, kind="random")', "should be 'symmetric' or 'pair'"),
            ("imbalanced(digits, ratio=0.5)", r"the argument ratio=0.5 should be greater than or equal to 1"),
            ("imbalanced(digits, ratio=5, profile=1)", "profile=1 should be 'exponential' or 'step'"),
            ("imbalanced(digits(labeled=10), ratio=2)", r"ratio=2 leaves class '1' of digits\(.*none"),
        ],
    )
    def test_refuses(self, spec: str, message: str) -> None:
        with pytest.raises(LimbeckError, match=message):
            load(spec)


@pytest.mark.parametrize(("wrapper", "argument"), [("noisy_labels", "rate=0.1"), ("imbalanced", "ratio=2")])
def test_wrappers_are_for_classification(wrapper: str, argument: str) -> None:
    with pytest.raises(
        LimbeckError, match=f"{wrapper} is for classification, and diabetes is for the task regression"
    ):
        load(f"{wrapper}(diabetes, {argument})")
