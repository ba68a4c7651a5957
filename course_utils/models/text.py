"""A decoder-only text transformer whose last token sums up the sentence (Radford et al. 2021, §2.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.models.layers import Block


class TextTransformer(nn.Module):
    """Causal transformer over token ids: (B, L) int64 → (B, L, width).

    Each position sees itself and what stands before it, so only the last token has read the whole text.
    """

    def __init__(self, vocab_size: int, context_length: int, width: int = 128, depth: int = 2, heads: int = 4):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Parameter(0.01 * torch.randn(context_length, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    @property
    def context_length(self) -> int:
        return len(self.position_embedding)

    def embed(self, tokens: Tensor) -> Tensor:
        """What enters the first block: each token's vector plus its position's, (B, L) → (B, L, width)."""
        if tokens.ndim != 2 or tokens.shape[1] > self.context_length:
            raise ValueError(f"tokens: expected (B, L ≤ {self.context_length}), got {tuple(tokens.shape)}")
        return self.token_embedding(tokens) + self.position_embedding[: tokens.shape[1]]

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embed(tokens)))


def last_token(states: Tensor, tokens: Tensor, end_id: int) -> Tensor:
    """The state (B, D) at each text's first end token; states (B, L, D), tokens (B, L).

    The end is looked up by its id. An argmax over ids, as CLIP's first code had it, breaks when ids are added.
    """
    is_end = tokens == end_id
    if not bool(is_end.any(1).all()):
        raise ValueError(f"tokens: every text must hold the end token {end_id}; {int((~is_end.any(1)).sum())} do not")
    return states[torch.arange(len(tokens), device=tokens.device), is_end.int().argmax(1)]
