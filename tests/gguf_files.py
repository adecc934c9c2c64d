"""A GGUF file of a small Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def write_gguf(network: Any, tokenizer: Any, file: Path) -> Path:
    """Writes a `LlamaForCausalLM` in float32 with its vocabulary; merges of a BPE are written as well."""
    import json

    import gguf

    config, state = network.config, {key: each.numpy() for key, each in network.state_dict().items()}
    heads = config.num_attention_heads
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_vocab_size(config.vocab_size)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(model["vocab"], key=model["vocab"].get))
    writer.add_token_types([3, *[1] * (len(model["vocab"]) - 1)])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def interleaved(weight: Any, count: int) -> Any:
        """The rows in the order of llama.cpp, which turns neighbors."""
        half = weight.shape[0] // count // 2
        return weight.reshape(count, 2, half, -1).swapaxes(1, 2).reshape(weight.shape)

    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    writer.add_tensor("output.weight", state["lm_head.weight"])
    for number in range(config.num_hidden_layers):
        for theirs, ours in NAMES.items():
            weight = state[f"model.layers.{number}.{ours}.weight"]
            count = {"attn_q": heads, "attn_k": config.num_key_value_heads}.get(theirs)
            made = weight if count is None else interleaved(weight, count)
            writer.add_tensor(f"blk.{number}.{theirs}.weight", made)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
