from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import call
from limbeck.methods.parts import mixing
from limbeck.methods.parts.mixing import beta, mixed, partners_of
from limbeck.models.textcnn import TextCNN
from limbeck.models.transformer import Transformer
from limbeck.outputs import Mixture


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    seed, samples = torch.tensor(5), torch.arange(1000)
    shares = torch.cat([beta(alpha, seed, step, samples) for step in range(3)]).double()
    assert 0 <= shares.min() < 0.02 < 0.98 < shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_a_share_is_a_function_of_seed_step_and_sample() -> None:
    seed = torch.tensor(5)
    shares = beta(0.4, seed, 7, torch.arange(6))
    assert len(set(shares.tolist())) == 6
    assert torch.equal(beta(0.4, seed, 7, torch.tensor([4, 2])), shares[[4, 2]])
    assert beta(0.4, seed, 7) == shares[0]
    assert beta(0.4, seed, 8) != shares[0]
    assert beta(0.4, seed + 1, 7) != shares[0]


def texts(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Texts of these lengths, with types of tokens that are theirs."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1, 20, mask.shape, generator=generator) * mask
    return {"input_ids": ids, "token_type_ids": mask * (seed + 1), "attention_mask": mask}


SHARES = torch.tensor([0.75, 0.25, 0.5, 1.0, 0.0])


def test_floats_are_mixed_as_they_are() -> None:
    first, second = torch.rand(5, 1, 2, 3), torch.rand(5, 1, 2, 3)
    found = mixed(first, second, SHARES)
    for sample, share in enumerate(SHARES.tolist()):
        expected = share * first[sample] + (1 - share) * second[sample]
        torch.testing.assert_close(cast(Tensor, found)[sample], expected)
    named = mixed({"pixels": first}, {"pixels": second}, SHARES)
    assert torch.equal(cast(Mapping[str, Tensor], named)["pixels"], cast(Tensor, found))


def test_where_one_text_has_ended_the_other_goes_on_with_its_share() -> None:
    first, second = texts([4, 2, 3, 2, 5]), texts([2, 3, 3, 4, 1], seed=1)
    found = mixed(first, second, SHARES)
    assert isinstance(found, Mixture)
    assert found.name == "input_ids"
    assert found["attention_mask"].tolist() == [
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
    ]  # the last two are one text alone
    assert found.shares[0].tolist() == [[0.75] * 4 + [0], [0.25] * 2 + [0] * 3]
    assert found.shares[1].tolist() == [[0.25] * 2 + [0] * 3, [0.75] * 3 + [0] * 2]
    assert torch.equal(found.ids[:, 0], first["input_ids"])
    assert torch.equal(found.ids[:, 1, :4], second["input_ids"])
    own, other = first["input_ids"], second["input_ids"]
    assert found.given[0].tolist() == own[0].tolist(), "the ids are those of the text with the larger share"
    assert found.given[1, :3].tolist() == other[1, :3].tolist()
    assert found["token_type_ids"][1].tolist() == [2, 2, 2, 0, 0]


def test_the_ids_that_a_network_sees_go_on_where_those_of_the_larger_share_have_ended() -> None:
    first, second = texts([2, 1]), texts([4, 4], seed=1)
    found = mixed(first, second, torch.full((2,), 0.75))
    assert isinstance(found, Mixture)
    ours, theirs = first["input_ids"].tolist(), second["input_ids"].tolist()
    assert found.given.tolist() == [ours[0] + theirs[0][2:], ours[1][:1] + theirs[1][1:]]
    assert found["token_type_ids"].tolist() == [[1, 1, 2, 2], [1, 2, 2, 2]]


def test_ids_without_a_name_and_without_a_mask_are_mixed_everywhere() -> None:
    ids, others = torch.randint(9, (5, 3)), torch.randint(9, (5, 3))
    found = mixed(ids, others, SHARES)
    assert isinstance(found, Mixture)
    assert found.name == ""
    assert torch.equal(found.given, torch.where((SHARES >= 0.5)[:, None], ids, others))
    assert found.shares[0].tolist() == [[0.75] * 3, [0.25] * 3]


def test_what_is_no_text_is_not_mixed() -> None:
    lengths = {"input_ids": torch.ones(2, 3, dtype=torch.int64), "lengths": torch.tensor([3, 2])}
    with pytest.raises(
        LimbeckError, match=r"mixed position by position, and lengths of dtype torch.int64 and"
    ):
        mixed(lengths, lengths, torch.ones(2))
    with pytest.raises(LimbeckError, match=r"and the input of dtype torch.int64 and shape \(2,\) has no"):
        mixed(torch.tensor([3, 2]), torch.tensor([3, 2]), torch.ones(2))


NETWORKS = {
    "textcnn": lambda: TextCNN(6, 4, vocab_size=20, num_classes=3),
    "transformer": lambda: Transformer(8, 2, 2, vocab_size=20, num_classes=3),
}


def without_types(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in inputs.items() if name != "token_type_ids"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_share_is_the_text_itself_and_two_texts_may_change_places(name: str) -> None:
    network: nn.Module = NETWORKS[name]().eval()  # type: ignore[no-untyped-call]
    first, second = without_types(texts([4, 2, 5])), without_types(texts([2, 3, 5], seed=1))
    whole = torch.ones(3)
    torch.testing.assert_close(call(network, mixed(first, second, whole)), network(**first))
    torch.testing.assert_close(call(network, mixed(first, second, 0 * whole)), network(**second))
    shares = torch.tensor([0.75, 0.125, 0.5])
    there, back = (
        call(network, mixed(*each)) for each in ((first, second, shares), (second, first, 1 - shares))
    )
    torch.testing.assert_close(there, back)
    assert not torch.allclose(there, network(**first))


def test_partners_are_of_the_batch_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, others = texts([2, 3], seed=2), texts([5, 1], seed=1)

    def gather(tensor: Tensor) -> Tensor:
        """What another process has behind this one's own."""
        if tensor.ndim == 1:
            return torch.cat([tensor, torch.tensor([5])])
        name = next(name for name in mine if torch.equal(tensor[:, :3], mine[name]))
        return torch.cat([tensor, others[name]])

    partners = torch.tensor([3, 1])
    assert torch.equal(cast(Tensor, partners_of(mine["input_ids"], partners - 2)), mine["input_ids"][[1, -1]])
    monkeypatch.setattr(mixing, "gather", gather)
    monkeypatch.setattr(mixing, "alone", lambda: False)
    found = cast(Mapping[str, Tensor], partners_of(mine, partners))
    assert found["input_ids"].tolist() == [
        others["input_ids"][1].tolist(),
        [*mine["input_ids"][1].tolist(), 0, 0],
    ]
    assert found["attention_mask"].tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert cast(Mixture, mixed(mine, found, torch.full((2,), 0.5)))["attention_mask"].shape == (2, 5)
