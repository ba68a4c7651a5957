"""CLIP: one space for captions and pictures (Radford et al. 2021, §2.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.images import looked_at
from course_utils.models.configured import LARGEST, Configured, sizes
from course_utils.models.layers import conv_norm_act
from course_utils.models.text import TextTransformer, last_token
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import ConvStem, ViT

MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of the towers and of the space they share."""

    embedding: int = 128
    image_width: int = 128
    image_depth: int = 3
    text_width: int = 128
    text_depth: int = 2
    heads: int = 4


class ConvTower(nn.Module):
    """A convolutional image tower, as CLIP's first ones were: pictures (B, 3, 64, 64) → (B, width).

    The last feature map is looked at twice, as the judge does: what is there (maximum), and roughly where (4×4 means).
    """

    def __init__(self, width: int, channels: int = 32):
        super().__init__()
        c1, c2, c4 = channels, 2 * channels, 4 * channels
        self.body = nn.Sequential(
            conv_norm_act(3, c1, 2),
            conv_norm_act(c1, c2, 2),
            conv_norm_act(c2, c2),
            conv_norm_act(c2, c4, 2),
            conv_norm_act(c4, c4),
        )
        self.mix = nn.Sequential(nn.Linear(17 * c4, width), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)  # (B, 4 · channels, 8, 8)
        return self.mix(torch.cat([F.adaptive_avg_pool2d(h, 4).flatten(1), h.amax((2, 3))], dim=1))


class CLIP(Configured, nn.Module):
    """A text tower and an image tower with a projection each; embeddings have unit length.

    `image`: another image tower in the place of the ViT behind convolutions, pictures (B, 3, 64, 64) →
    (B, image_width), such as a `ConvTower`. Checkpoints know the ViT alone.
    `logit_scale` is the logarithm of 1/temperature; `clamp_scale` keeps it in [0, ln 100] after each step.
    """

    side = 64

    def __init__(self, tokenizer: Tokenizer, config: CLIPConfig | None = None, image: nn.Module | None = None):
        super().__init__()
        self.config, self.tokenizer = config or CLIPConfig(), tokenizer
        c = self.config
        self.text = TextTransformer(tokenizer.vocab_size, tokenizer.context_length, c.text_width, c.text_depth, c.heads)
        self.image = image or ViT(ConvStem(c.image_width), 16, c.image_width, c.image_depth, c.heads)
        self.text_projection = nn.Linear(c.text_width, c.embedding, bias=False)
        self.image_projection = nn.Linear(c.image_width, c.embedding, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def config_dict(self) -> dict:
        return {**super().config_dict(), "tokenizer": self.tokenizer.to_dict()}

    @classmethod
    def from_config(cls, config: dict) -> CLIP:
        own = sizes(CLIPConfig, {k: v for k, v in config.items() if k != "tokenizer"})
        tokenizer = Tokenizer.from_dict(config["tokenizer"])
        if tokenizer.context_length > LARGEST:
            raise ValueError(f"context_length: got {tokenizer.context_length}; expected at most {LARGEST}")
        return cls(tokenizer, own)

    def encode_text(self, text: Tensor | str | list[str]) -> Tensor:
        """Texts, or their token ids (B, L) → unit vectors (B, D). Too long a text is an error, never cut."""
        tokens = text if isinstance(text, Tensor) else self.tokenizer(text)
        tokens = tokens.to(self.logit_scale.device)
        states = self.text(tokens)
        return F.normalize(self.text_projection(last_token(states, tokens, self.tokenizer.end_id)), dim=-1)

    def encode_image(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64), or larger ones, which are averaged down, in [-1, 1] → unit vectors (B, D)."""
        return F.normalize(self.image_projection(self.image(looked_at(x, self.side))), dim=-1)

    @torch.no_grad()
    def clamp_scale(self) -> None:
        self.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)
