"""What language models write: always the most probable token, with and without a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from language_models import llama
from limbeck.data.language.tokenizer import of_place
from limbeck.evaluation.writing import greedy
from limbeck.models import GPT, causal
from shared_data import DATA, needs_data

STORIES = DATA / "models" / "stories260k"


class Plain(nn.Module):
    """A network that has no cache."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.network(input_ids, attention_mask)


def gpt() -> GPT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = GPT(dim=16, depth=2, heads=2, vocab_size=300)
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.3)
    return made


def by_hand(network: Any, prompt: list[int], most: int) -> list[int]:
    ids = [*prompt]
    network.eval()
    with torch.no_grad():
        for _ in range(most):
            found = network(torch.tensor([ids]))
            ids.append(int((found if isinstance(found, Tensor) else found.logits)[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", ["gpt", "llama", "plain"])
def test_each_token_is_the_most_probable(kind: str, tmp_path: Path) -> None:
    network = causal.build(f"hf:{llama(tmp_path)}", {}) if kind == "llama" else gpt()
    wanted = by_hand(network, [5, 6, 7], 12)
    assert len(set(wanted)) > 2
    network.train()
    used = Plain(network) if kind == "plain" else network
    used.train()
    other = by_hand(network, [9], 12)
    used.train()
    assert greedy(used, [[5, 6, 7], [9]], 12, (), 300) == [wanted, other], "each as if it were alone"
    assert used.training
    end = wanted[5]
    assert greedy(used, [[5, 6, 7]], 12, {end}, 300) == [wanted[: wanted.index(end)]]


def test_outputs_beyond_the_vocabulary_are_never_written() -> None:
    network = gpt()
    assert max(*greedy(network, [[5]], 12, (), 20)[0]) < 20
    assert max(*greedy(network, [[5]], 12, (), 300)[0]) >= 20


@needs_data
def test_a_real_network_writes_its_documented_text() -> None:
    readme = (STORIES / "stories260K.md").read_text(encoding="utf-8")
    documented = readme.partition("-t 0.0\n")[2].partition("\n```")[0]
    network = causal.build(f"hf:{STORIES / 'hf'}", {})
    (ids,) = greedy(network, [[1]], 256, {1, 2}, 512)
    tokenizer = of_place(str(STORIES / "hf")).tokenizer
    assert tokenizer.decode(ids, skip_special_tokens=True) == documented
