"""Low-rank adapters: what learns, and what is left when they are merged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import GPT, lora

pytest.importorskip("peft", reason="peft is not installed")
IDS = torch.arange(9)[None]


def network(*targets: str, rank: int = 2) -> tuple[nn.Module, nn.Module]:
    """A network with adapters, and one like it without."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = GPT(dim=16, depth=2, heads=2, vocab_size=11)
        torch.manual_seed(0)
        made = GPT(dim=16, depth=2, heads=2, vocab_size=11)
        lora.adapt(made, rank=rank, alpha=4.0, dropout=0.0, targets=targets, name="gpt")
    return made, plain


def test_only_the_adapters_learn_and_they_begin_as_nothing() -> None:
    made, plain = network()
    learning = [name for name, parameter in made.named_parameters() if parameter.requires_grad]
    assert learning
    assert all(".lora_A." in name or ".lora_B." in name for name in learning)
    assert len(learning) == 2 * 2 * 5  # two blocks with five linear layers each, and not the head
    assert torch.equal(made(IDS), plain(IDS))
    assert lora.is_adapted(made)
    assert not lora.is_adapted(plain)


def test_layers_are_chosen_by_the_end_of_their_path() -> None:
    made, _ = network("projections", "blocks.1.mixing")
    learning = {name.partition(".lora_")[0] for name, each in made.named_parameters() if each.requires_grad}
    assert learning == {"blocks.0.projections", "blocks.1.projections", "blocks.1.mixing"}
    with pytest.raises(
        LimbeckError, match="unknown linear layer of gpt 'projection'; did you mean 'projections'"
    ):
        network("projection")


def test_merged_it_is_a_plain_network_that_answers_the_same() -> None:
    made, plain = network()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
                )
    answer = made(IDS)
    whole = lora.merged(made)
    assert whole.state_dict().keys() == plain.state_dict().keys()
    assert (answer - plain(IDS)).abs().max() > 0.01
    torch.testing.assert_close(whole(IDS), answer, rtol=0, atol=1e-5)
    assert torch.equal(made(IDS), answer)  # it stays as it was
    assert all(parameter.requires_grad for parameter in whole.parameters())
    assert lora.merged(plain) is plain


def test_a_network_without_linear_layers_is_refused() -> None:
    with pytest.raises(LimbeckError, match="has no linear layer to put adapters on"):
        lora.adapt(nn.Conv2d(1, 1, 1), rank=1, alpha=1.0, dropout=0.0, targets=(), name="it")
