"""A folder of the transformers library, small enough to be made in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "bird", "above", "two", "old", "red", "roofs"]


def write_folder(folder: Path) -> None:
    """A Llama of two blocks in bfloat16 whose head is its embedding, and a tokenizer of a word a token."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", *WORDS])}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(folder)
    torch.manual_seed(0)
    model = made(len(WORDS) + 1, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None)
    model.to(torch.bfloat16).save_pretrained(folder)


def made(vocabulary: int, **more: Any) -> Any:
    """A Llama of two blocks with random weights, and ``more`` in its configuration."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocabulary,
        max_position_embeddings=32,
        initializer_range=0.3,
        **more,
    )
    return transformers.LlamaForCausalLM(config)
