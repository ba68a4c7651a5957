"""A small language model: the text transformer, trained to say the next token, writes captions of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer, normalise


class LanguageModel(nn.Module):
    """Decoder-only (Radford et al. 2018): tokens (B, L) → logits (B, L, V) for the token that follows each.

    The read-out is the table of token embeddings once more (Press & Wolf 2017): the logit of a token is its
    vector's inner product with the state.
    """

    def __init__(self, tokenizer: Tokenizer, width: int = 128, depth: int = 3, heads: int = 4):
        super().__init__()
        self.tokenizer = tokenizer
        self.text = TextTransformer(tokenizer.vocab_size, tokenizer.context_length, width, depth, heads)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.text(tokens) @ self.text.token_embedding.weight.T

    @torch.no_grad()
    def next_token(self, start: str = "") -> Tensor:
        """The distribution over the token after `start`: (V,), sums to 1; `<pad>` and `<start>` never follow."""
        return self._distribution(self._begin(start), 1.0)[0]

    @torch.no_grad()
    def write(
        self,
        n: int = 1,
        start: str = "",
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """n texts that go on from `start`, token by token, until `<end>` or until the context is full.

        temperature: 1 draws from the model's own distribution, less sharpens it, 0 takes the likeliest token.
        """
        if n < 1:
            raise ValueError(f"n: got {n}; expected 1 or more")
        if temperature < 0:
            raise ValueError(f"temperature: got {temperature}; expected 0 or more")
        tok = self.tokenizer
        tokens = self._begin(start).expand(n, -1)
        ended = torch.zeros(n, dtype=torch.bool, device=tokens.device)
        while tokens.shape[1] < tok.context_length and not bool(ended.all()):
            p = self._distribution(tokens, temperature or 1.0)
            if temperature:
                # Drawn on the CPU, so that the same seed writes the same text wherever the model lives.
                drawn = torch.multinomial(p.cpu(), 1, generator=generator)[:, 0].to(tokens.device)
            else:
                drawn = p.argmax(1)
            drawn = torch.where(ended, tok.pad_id, drawn)
            ended |= drawn == tok.end_id
            tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        return [tok.decode(row).strip() for row in tokens.tolist()]

    def _begin(self, start: str) -> Tensor:
        tok = self.tokenizer
        ids = [tok.start_id, *tok.encode(normalise(start))]
        if len(ids) >= tok.context_length:
            raise ValueError(f"start: {len(ids) - 1} tokens, and {tok.context_length - 2} fit")
        return torch.tensor([ids], device=self.text.position_embedding.device)

    def _distribution(self, tokens: Tensor, temperature: float) -> Tensor:
        logits = self(tokens)[:, -1] / temperature
        logits[:, [self.tokenizer.pad_id, self.tokenizer.start_id]] = -torch.inf
        return logits.softmax(-1)
