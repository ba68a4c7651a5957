"""CLIP as published, through open_clip: from its cache or from the network, and None where it cannot be had.

Reading the weights is open_clip's work. What is added here is that a machine without a network is told so within
seconds: open_clip alone would ask the server again and again.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from course_utils import runtime
from course_utils.images import to_uint8

MODEL, WEIGHTS = "ViT-B-32", "laion2b_s34b_b79k"  # 151 million weights, 605 MB
HOST = "huggingface.co"


@dataclass(frozen=True)
class OfficialCLIP:
    """A published model with the preparation of pictures and the tokenizer that belong to it."""

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[Sequence[str]], Tensor]

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts → unit vectors (B, D)."""
        device = next(self.model.parameters()).device
        return F.normalize(self.model.encode_text(self.tokenizer(list(texts)).to(device)), dim=-1).cpu()

    @torch.inference_mode()
    def encode_image(self, pictures: Sequence[Tensor]) -> Tensor:
        """Pictures (3, H, W), uint8 or float in [-1, 1], of any size each → unit vectors (B, D)."""
        device = next(self.model.parameters()).device
        in_bytes = [p if p.dtype == torch.uint8 else to_uint8(p) for p in pictures]
        images = [Image.fromarray(p.permute(1, 2, 0).cpu().numpy()) for p in in_bytes]
        batch = torch.stack([self.preprocess(image) for image in images]).to(device)
        return F.normalize(self.model.encode_image(batch), dim=-1).cpu()


def official_clip(name: str = MODEL, weights: str = WEIGHTS, seconds: float = 2.0) -> OfficialCLIP | None:
    """A published CLIP, ready for use; None where its weights are neither in the cache nor in reach.

    Looks at open_clip's cache first. Only if the weights are not there and the server answers within `seconds`,
    they are fetched, once. Raises ValueError for weights that open_clip does not know.
    """
    import open_clip

    if weights not in open_clip.list_pretrained_tags_by_model(name):
        known = open_clip.list_pretrained_tags_by_model(name)
        raise ValueError(f"weights: got {weights!r} for {name}; expected one of {', '.join(known) or 'none'}")
    if not _cached(name, weights) and not runtime.reachable(HOST, seconds):
        return None
    try:
        with _quiet():
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, pretrained=weights, device=runtime.device()
            )
            tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError):  # the connection broke, or only part of the file came
        return None
    return OfficialCLIP(model.eval().requires_grad_(False), preprocess, tokenizer)


def _cached(name: str, weights: str) -> bool:
    """Whether the Hugging Face cache holds the weights, in either of the two formats that open_clip reads."""
    from huggingface_hub import try_to_load_from_cache
    from open_clip.pretrained import get_pretrained_cfg

    repo = get_pretrained_cfg(name, weights).get("hf_hub", "").rstrip("/")
    files = (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin",
    )
    return bool(repo) and any(isinstance(try_to_load_from_cache(repo, file), str) for file in files)


@contextlib.contextmanager
def _quiet():
    """No progress bars and warnings of other libraries in the notebook."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
