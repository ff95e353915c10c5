"""A tiny model of text in a GGUF file, as llama.cpp's tools write them."""

from pathlib import Path
from typing import Final

import gguf
import numpy as np

_WIDTH: Final = 32
_INNER: Final = 64
_SHAPES: Final = {
    "attn_q": (_WIDTH, _WIDTH),
    "attn_k": (_WIDTH, _WIDTH),
    "attn_v": (_WIDTH, _WIDTH),
    "attn_output": (_WIDTH, _WIDTH),
    "ffn_gate": (_INNER, _WIDTH),
    "ffn_up": (_INNER, _WIDTH),
    "ffn_down": (_WIDTH, _INNER),
    "attn_norm": (_WIDTH,),
    "ffn_norm": (_WIDTH,),
}


def write(path: Path) -> None:
    """Write the file: one layer, and a tokenizer that knows letters and their word beginnings."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<unk>", "<s>", "</s>", "▁", *letters, *(f"▁{letter}" for letter in letters)]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    # Unknown, control, control, and normal ones.
    writer.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    numbers = np.random.default_rng(7)
    shapes = {f"blk.0.{name}.weight": shape for name, shape in _SHAPES.items()}
    shapes |= dict.fromkeys(("token_embd.weight", "output.weight"), (len(tokens), _WIDTH))
    shapes["output_norm.weight"] = (_WIDTH,)
    for name, shape in shapes.items():
        writer.add_tensor(name, (numbers.normal(size=shape) * 0.3).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
