"""CLIP as published, through open_clip: from this machine, or from the network for those who ask, or not at all."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from PIL import Image
from torch import Tensor, nn

from course_utils import runtime
from course_utils.external.published import Published, obtain
from course_utils.images import to_uint8

MODEL, WEIGHTS = "ViT-B-32", "laion2b_s34b_b79k"  # open_clip's names; 151 million weights
REPO, REVISION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "1a25a446712ba5ee05982a381eed697ef9b435cf"
FILE = Published(
    title="The published weights of CLIP ViT-B/32",
    url=hf_hub_url(REPO, "open_clip_model.safetensors", revision=REVISION),
    size=605_143_316,
    sha256="ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
)


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


def official_clip(download: bool = False, seconds: float = 2.0, stall: float = 20.0) -> OfficialCLIP | None:
    """CLIP ViT-B/32 as LAION trained it, ready for use; None and one printed line where it can't be had.

    Its weights are looked for in the course's cache and in the Hugging Face Hub's. Only with `download` are they
    fetched (605 MB, once): the server has `seconds` to answer, and then `stall` seconds for each next piece. What
    does not have the SHA-256 of the pinned revision is not loaded.
    """
    file = obtain(FILE, "official_clip(download=True)", download, _in_hubs_cache(), seconds, stall)
    if file is None:
        return None
    import open_clip

    with _quiet():
        model, _, preprocess = open_clip.create_model_and_transforms(
            MODEL, pretrained=str(file), device=runtime.device()
        )
        tokenizer = open_clip.get_tokenizer(MODEL)
    return OfficialCLIP(model.eval().requires_grad_(False), preprocess, tokenizer)


def library_weights(name: str) -> int:
    """How many weights the CLIP of this name in open_clip has, such as "ViT-L-14"; none of them is loaded or drawn.

    For models of open_clip's plain `CLIP` class whose two towers are both the library's own, as the published ones are.
    """
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    config = open_clip.get_model_config(name)
    plain = set(config or {}) - {"quick_gelu"} == {"embed_dim", "vision_cfg", "text_cfg"}
    if (
        config is None
        or not plain
        or "timm_model_name" in config["vision_cfg"]
        or "hf_model_name" in config["text_cfg"]
    ):
        raise ValueError(f"name: got {name!r}; expected a plain CLIP of open_clip's, such as {MODEL}")
    vision, text = CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"])
    with torch.device("meta"):  # shapes only: no memory, no time
        return sum(p.numel() for p in CLIP(config["embed_dim"], vision, text).parameters())


def _in_hubs_cache() -> list[Path]:
    """The file in the Hugging Face Hub's cache, where other programs may have put it."""
    try:
        found = try_to_load_from_cache(REPO, FILE.name, revision=REVISION)
    except OSError:  # another user's cache
        return []
    return [Path(found)] if isinstance(found, str) else []


@contextlib.contextmanager
def _quiet():
    """No warnings of other libraries in the notebook."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
