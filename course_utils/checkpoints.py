"""Checkpoints: safetensors with everything needed to rebuild the model in the header, and a manifest of hashes.

Weights are stored as float16 and used as float32. `load("vae")` gives the course's own model; `load(path)` one
of the student's. A file that is damaged, or not a checkpoint of this course, is refused as a whole.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import nn

from course_utils import runtime
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.models.autoencoder import VAE, Decoder, VAESweep
from course_utils.models.classifier import Judge
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser
from course_utils.models.perceptual import Backbone

FORMAT = "latent-course-1"
MODELS: dict[str, type[nn.Module]] = {
    "judge": Judge,
    "backbone": Backbone,
    "vae": VAE,
    "kl_sweep": VAESweep,
    "lpips_decoder": Decoder,
    "gan_decoder": Decoder,
    "sharp_decoder": Decoder,
    "clip": CLIP,
    "denoiser": Denoiser,
    "diffusion": Denoiser,
    "weak_denoiser": Denoiser,
}


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or foreign. The message names the file and says what to do."""


def folder() -> Path:
    """Where the course's own checkpoints lie."""
    return runtime.data_dir() / "checkpoints"


def path_of(name: str | Path) -> Path:
    """The file of a checkpoint: one of the course's own by its name, any other by its path."""
    if str(name) in MODELS:
        return folder() / f"{name}.safetensors"
    path = Path(name)
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"{name}: not a checkpoint's name; expected one of {', '.join(MODELS)} or a .safetensors file"
        )
    return path


def header(name: str | Path) -> dict:
    """What a checkpoint says of itself: model, config, recipe, seed, metrics."""
    path = path_of(name)
    if not path.exists():
        raise CheckpointError(
            f"{path.name} is missing from {path.parent.name}/; `make checkpoints` trains the course's own again"
        )
    try:
        with safe_open(path, framework="pt") as f:
            meta = f.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is damaged ({error}); fetch it again or retrain it with `make checkpoints`"
        ) from None
    if meta.get("format") != FORMAT or meta.get("model") not in MODELS:
        raise CheckpointError(
            f"{path.name} is not a checkpoint of this course (format {meta.get('format')!r}, expected {FORMAT!r})"
        )
    return {k: json.loads(v) if k in ("config", "metrics", "seed") else v for k, v in meta.items()}


def load(name: str | Path, device: torch.device | str | None = None) -> nn.Module:
    """Rebuild a model from its checkpoint, ready for use (eval mode, float32)."""
    about = header(name)
    path = path_of(name)
    raw = path.read_bytes()
    if str(name) in MODELS:
        if about["model"] != str(name):
            raise CheckpointError(f"{path.name} holds a {about['model']}, expected a {name}")
        listed = manifest().get(path.name)
        if listed and hashlib.sha256(raw).hexdigest() != listed["sha256"]:
            raise CheckpointError(
                f"{path.name} does not match data/checkpoints/manifest.json; "
                "fetch it again or retrain it with `make checkpoints`"
            )
    try:
        model = MODELS[about["model"]].from_config(about["config"])
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_bytes(raw).items()})
    except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path.name} does not fit the course's {about['model']}: {error}") from None
    model = model.eval().requires_grad_(False).to(device or runtime.device())
    if isinstance(model, VAE | VAESweep | Decoder | Judge):
        model = model.to(memory_format=torch.channels_last)
    return model


def save(model: nn.Module, path: str | Path, *, name: str, recipe: str, metrics: dict, seed: int) -> Path:
    """Write a checkpoint atomically; for the course's own also its line in the manifest."""
    if name not in MODELS:
        raise ValueError(f"name: got {name!r}; expected one of {', '.join(MODELS)}")
    path = Path(path).resolve()
    tensors = {
        k: (v.detach().half() if v.is_floating_point() else v.detach()).cpu().contiguous()
        for k, v in model.state_dict().items()
    }
    meta = {
        "format": FORMAT,
        "model": name,
        "recipe": recipe,
        "config": json.dumps(model.config_dict()),
        "metrics": json.dumps(metrics),
        "seed": json.dumps(seed),
    }
    raw = save_bytes(tensors, meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, raw)
    if path.parent == folder().resolve():
        entry = {
            "sha256": hashlib.sha256(raw).hexdigest(),
            "bytes": len(raw),
            "recipe": recipe,
            "metrics": metrics,
        }
        text = json.dumps(dict(sorted({**manifest(), path.name: entry}.items())), indent=2)
        _write(folder() / "manifest.json", (text + "\n").encode())
    return path


def _write(path: Path, raw: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(raw)
    partial.replace(path)


def manifest() -> dict[str, dict]:
    """The course's own checkpoints: file → hash, size, recipe, metrics."""
    path = folder() / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def load_pipeline(sharp: bool = True, device: torch.device | str | None = None) -> TextToPicture:
    """The whole stack from the course's checkpoints: VAE (with the sharp decoder or its own), CLIP, denoiser."""
    vae = load("vae", device)
    if sharp:
        vae.decoder = load("sharp_decoder", device)
    return TextToPicture(vae, load("clip", device), load("denoiser", device), RectifiedFlow())
