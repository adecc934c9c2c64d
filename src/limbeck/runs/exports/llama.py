"""limbeck's own language model as the Llama of transformers, which computes the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models.gpt import BASE, GPT
from limbeck.optional import imported
from limbeck.pretrained import EXTRA, quiet

CONTEXT = 2048
"""Tokens that the config names as the most of a rotary network, which has no such number."""


def is_llama(student: GPT) -> bool:
    """Whether a gpt computes what a Llama does: rotary positions, RMSNorm and SwiGLU, as by default."""
    block: Any = student.blocks[0]
    return student.positions is None and isinstance(student.norm, nn.RMSNorm) and hasattr(block.feed, "gate")


def as_llama(student: GPT) -> nn.Module:
    """A `LlamaForCausalLM` with the weights of a gpt, in eval mode.

    Raises:
        LimbeckError: for one with learned positions, layer norms or GELU, which Llama does not have.
    """
    block: Any = student.blocks[0]
    norm: Any = student.norm
    if not is_llama(student):
        raise LimbeckError(
            "transformers has no network like this gpt: with rotary positions, RMSNorm and SwiGLU, as they "
            "are by default, it would be a Llama; take safetensors"
        )
    package = imported("transformers", EXTRA)
    vocabulary, dim = student.embedding.weight.shape
    tied = student.head.weight is student.embedding.weight
    config = package.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=dim,
        intermediate_size=block.feed.gate.out_features,
        num_hidden_layers=len(student.blocks),
        num_attention_heads=block.heads,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=norm.eps,
        rope_theta=BASE,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]), quiet(package):  # its weights are overwritten at once
        network: nn.Module = package.LlamaForCausalLM(config)
    state = {"model.embed_tokens.weight": student.embedding.weight, "model.norm.weight": norm.weight}
    state["lm_head.weight"] = student.head.weight
    for number, each in enumerate(student.blocks):
        part: Any = each
        inside = dict(zip("qkv", part.projections.weight.chunk(3), strict=True))
        own = {
            **{f"self_attn.{name}_proj.weight": weight for name, weight in inside.items()},
            "self_attn.o_proj.weight": part.mixing.weight,
            "mlp.gate_proj.weight": part.feed.gate.weight,
            "mlp.up_proj.weight": part.feed.inside.weight,
            "mlp.down_proj.weight": part.feed.out.weight,
            "input_layernorm.weight": part.attention_norm.weight,
            "post_attention_layernorm.weight": part.feed_norm.weight,
        }
        state |= {f"model.layers.{number}.{name}": weight for name, weight in own.items()}
    network.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()})
    return network.eval()
