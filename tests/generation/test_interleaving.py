"""Texts by one network and by two, against the rules token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.generation import Drawing, Written, blend, interleave, most_tokens, noise, stepper, write
from limbeck.generation.interleaving import STUDENT
from limbeck.models import GPT

transformers = pytest.importorskip("transformers")
VOCABULARY, LENGTH = 23, 12
GREEDY, FAIR = Drawing(temperature=0), Drawing()


def llama(seed: int, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.8,
        pad_token_id=0,
        **changes,
    )
    network: nn.Module = transformers.LlamaForCausalLM(config).double().eval()
    return network


class Recurrent(nn.Module):
    """A causal network without a cache, which reads texts that are padded at their end."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.body = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, VOCABULARY)
        self.double()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = 4 * self.head(self.body(self.embedding(input_ids))[0])
        return logits


def own(seed: int) -> nn.Module:
    """limbeck's own, with logits of some size."""
    torch.manual_seed(seed)
    network = GPT(dim=16, depth=2, heads=2, tie=False, vocab_size=VOCABULARY).double().eval()
    with torch.no_grad():
        network.head.weight.mul_(40)
        for block in network.blocks:
            block.get_parameter("projections.weight").mul_(20)
            block.get_parameter("mixing.weight").mul_(20)
    return network


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"with a cache": llama, "without": Recurrent, "own": own}


def prompts() -> tuple[Tensor, Tensor]:
    """Three prompts of 4, 2 and 1 tokens, padded on the left."""
    ids = torch.tensor([[3, 7, 11, 2], [0, 0, 5, 9], [0, 0, 0, 17]])
    mask = torch.tensor([[True] * 4, [False] * 2 + [True] * 2, [False] * 3 + [True]])
    return ids, mask


def numbers(role: int, place: Tensor) -> Tensor:
    return noise(0, 0, role, torch.arange(len(place)), place)


def next_logits(network: nn.Module, text: list[int]) -> Tensor:
    ids = torch.tensor([text])
    result = network(input_ids=ids, attention_mask=torch.ones_like(ids))
    return (result if isinstance(result, Tensor) else result.logits)[0, -1]


@torch.no_grad()
def by_hand(
    student: nn.Module, teacher: nn.Module | None, k: int, ends: set[int], correction: Drawing = FAIR
) -> tuple[list[list[int]], list[list[bool]]]:
    """The rule as the paper has it, one token of one text after the other."""
    texts, replaced = [], []
    for number, (ids, mask) in enumerate(zip(*prompts(), strict=True)):
        text, prompt = ids[mask].tolist(), int(mask.sum())
        flags: list[bool] = []
        while len(flags) < LENGTH and not (flags and text[-1] in ends):
            place = torch.full((3,), len(flags))
            token = int(FAIR(next_logits(student, text), numbers(0, place)[number]))
            flags.append(False)
            if teacher is not None:
                logits = next_logits(teacher, text)
                if token not in logits.topk(k).indices:
                    token, flags[-1] = int(correction(logits, numbers(1, place)[number])), True
            text.append(token)
        texts.append(text[prompt:])
        replaced.append(flags)
    return texts, replaced


def lists(written: Written) -> tuple[list[list[int]], list[list[bool]]]:
    ids = [row[:n].tolist() for row, n in zip(written.ids, written.lengths, strict=True)]
    return ids, [row[:n].tolist() for row, n in zip(written.replaced, written.lengths, strict=True)]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("ends", [set(), {4, 8}])
@torch.no_grad()
def test_a_network_writes_one_token_after_the_other(kind: str, ends: set[int]) -> None:
    network = NETWORKS[kind](0)
    written = write(network, *prompts(), length=LENGTH, ends=ends, noise=numbers)
    assert lists(written)[0] == by_hand(network, None, 1, ends)[0]
    assert int(written.mask.sum()) == int(written.lengths.sum())


@torch.no_grad()
def test_greedy_text_is_that_of_transformers() -> None:
    network, (ids, mask) = llama(0), prompts()
    written = write(network, ids, mask, length=LENGTH, ends=(), noise=numbers, drawing=GREEDY)
    expected = network.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=mask.long(), max_new_tokens=LENGTH, do_sample=False, eos_token_id=None
    )
    assert written.ids.tolist() == expected[:, ids.shape[1] :].tolist()


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("block", [1, 2, 5, 40])
@pytest.mark.parametrize(("k", "ends"), [(3, set()), (8, {4, 8})])
@torch.no_grad()
def test_a_block_of_proposals_gives_the_texts_of_the_rule(
    kind: str, block: int, k: int, ends: set[int]
) -> None:
    student, teacher = NETWORKS[kind](0), NETWORKS[kind](1)
    written = interleave(
        student, teacher, *prompts(), length=LENGTH, ends=ends, noise=numbers, k=k, block=block
    )
    assert lists(written) == by_hand(student, teacher, k, ends)
    assert written.replaced.any()
    assert not written.replaced.all()


@torch.no_grad()
def test_with_all_tokens_allowed_the_student_writes_alone() -> None:
    student, teacher = llama(0), llama(1)
    common: dict[str, Any] = {"length": LENGTH, "ends": {4}, "noise": numbers}
    written = interleave(student, teacher, *prompts(), k=VOCABULARY, **common)
    assert not written.replaced.any()
    assert lists(written)[0] == lists(write(student, *prompts(), **common))[0]
    assert written.forwards == 3, "twelve tokens in blocks of five"


@torch.no_grad()
def test_with_one_token_allowed_a_greedy_teacher_writes() -> None:
    student, teacher = llama(0), llama(1)
    common: dict[str, Any] = {"length": LENGTH, "ends": {4}, "noise": numbers}
    written = interleave(student, teacher, *prompts(), k=1, correction=GREEDY, **common)
    expected = write(teacher, *prompts(), drawing=GREEDY, **common)
    assert lists(written)[0] == lists(expected)[0]


@torch.no_grad()
def test_a_larger_block_asks_the_teacher_less_often() -> None:
    student = llama(0)
    forwards = [
        interleave(
            student, student, *prompts(), length=LENGTH, ends=(), noise=numbers, k=VOCABULARY, block=block
        ).forwards
        for block in (1, 4, 12)
    ]
    assert forwards == [12, 3, 1]


@torch.no_grad()
def test_nothing_is_written_where_nothing_may_be() -> None:
    written = write(llama(0), *prompts(), length=0, ends=(), noise=numbers)
    assert written.ids.shape == (3, 0)
    assert written.lengths.tolist() == [0, 0, 0]


def test_a_window_of_attention_is_read_again() -> None:
    assert type(stepper(llama(0))).__name__ == "_Cached"
    config = transformers.MistralConfig(
        vocab_size=9,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        sliding_window=4,
    )
    assert type(stepper(transformers.MistralForCausalLM(config))).__name__ == "_Again"
    assert type(stepper(Recurrent(0))).__name__ == "_Again"


@torch.no_grad()
def test_no_id_beyond_the_vocabulary_is_written() -> None:
    common: dict[str, Any] = {"length": LENGTH, "ends": (), "noise": numbers, "width": 12}
    written = write(llama(0), *prompts(), **common)
    assert written.ids.max() < 12
    assert interleave(llama(0), llama(1), *prompts(), k=3, **common).ids.max() < 12


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_tokens_are_drawn_from_the_mixture(kind: str, share: float) -> None:
    student, teacher = NETWORKS[kind](0), NETWORKS[kind](1)
    ids, mask = prompts()
    with torch.no_grad():
        found = blend(student, teacher, ids, mask, share=share, length=LENGTH, ends={1}, noise=numbers)
        for row in range(len(ids)):
            text = ids[row][mask[row]].tolist()
            for place in range(int(found.written.lengths[row])):
                ours, theirs = (next_logits(each, text).softmax(-1) for each in (student, teacher))
                mixture = (1 - share) * ours + share * theirs
                token = int(found.written.ids[row, place])
                number = numbers(STUDENT, torch.full((len(ids), 1), place))[row]
                assert FAIR(mixture.log().unsqueeze(0), number).item() == token
                for each, expected in zip(
                    (found.student, found.teacher, found.mixture), (ours, theirs, mixture), strict=True
                ):
                    assert each[row, place].exp().item() == pytest.approx(expected[token].item(), rel=1e-9)
                text.append(token)
            assert 1 not in text[len(text) - int(found.written.lengths[row]) : -1]


def learned(positions: int, seed: int = 0) -> nn.Module:
    """A GPT-2, which has an embedding for each of some positions."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=positions, initializer_range=0.8
    )
    network: nn.Module = transformers.GPT2LMHeadModel(config).double().eval()
    return network


@pytest.mark.parametrize("block", [1, 4])
@torch.no_grad()
def test_a_text_ends_where_a_network_has_no_position_left(block: int) -> None:
    short = learned(8)
    rules: dict[str, Any] = {"length": LENGTH, "ends": (), "noise": numbers}
    for written in (
        write(short, *prompts(), **rules),
        write(learned(64), *prompts(), most=8, **rules),
        blend(learned(64), short, *prompts(), share=0.5, **rules).written,
        interleave(learned(64), short, *prompts(), k=3, block=block, **rules),
    ):
        assert written.lengths.tolist() == [5, 7, 8]  # all but the last token are read
    alone = write(short, *(each[:1] for each in prompts()), **rules)
    assert lists(alone)[0] == lists(write(short, *prompts(), **rules))[0][:1]


@torch.no_grad()
def test_what_was_proposed_in_vain_takes_no_position() -> None:
    torch.manual_seed(0)
    teacher = GPT(16, 1, 2, positions="learned", context=16, vocab_size=VOCABULARY).double().eval()
    written = interleave(own(0), teacher, *prompts(), length=LENGTH, ends=(), noise=numbers, k=1, block=5)
    assert written.lengths.tolist() == [12, 12, 12]
    assert lists(written) == by_hand(own(0), teacher, 1, set())


@pytest.mark.parametrize("family", ["roberta", "openai-gpt"])
@torch.no_grad()
def test_positions_from_that_of_padding_and_no_cache_are_read_again(family: str) -> None:
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": 40, "hidden_size": 16}
    changes = {"is_decoder": True, "intermediate_size": 16} if family == "roberta" else {}
    config = transformers.AutoConfig.for_model(
        family, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.8, **sizes, **changes
    )
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    assert most_tokens(network) == (38 if family == "roberta" else 40)
    written = write(network, *prompts(), length=LENGTH, ends=(), noise=numbers)
    assert lists(written)[0] == by_hand(network, None, 1, set())[0]
