"""Outputs by word, of a network that answers by token."""

from __future__ import annotations

from limbeck.outputs import Inputs, Outputs
from limbeck.words import Words

_SAID = {"logits": "logits", "embedding": "embeddings"}


def by_word(
    outputs: Outputs, inputs: Inputs, whose: str = "the network", *, positions: bool = True
) -> Outputs:
    """The outputs of a network for sentences of words, by word; those for other inputs as they are.

    Args:
        outputs: with logits (B, L, C), and maybe an embedding, as the network gave them.
        inputs: what the network was called with.
        whose: the network, for messages.
        positions: whether an embedding has positions, (B, L, D).
    Raises:
        LimbeckError: for logits that are not those of tokens.
    """
    if not isinstance(inputs, Words):
        return outputs
    names = ["logits", *(["embedding"] if positions and "embedding" in outputs else [])]
    fields = {name: inputs.of(outputs[name], f"the {_SAID[name]} of {whose}") for name in names}
    return outputs.replace(**fields, words=inputs.read)
