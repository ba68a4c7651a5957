"""Checkpoints: everything needed to rebuild a model in one file, and a manifest of those that the course ships.

Weights are stored as float16 and used as float32. `load("vae")` gives the course's own model, which must be the one
that the manifest lists; `load(path)` one of the student's. Either must match the digest that it carries. A file that is
damaged, or not a checkpoint of this course, is refused as a whole, before anything of the size it asks for is allocated.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course_utils import files, runtime, sealed
from course_utils.diffusion.few_steps import FastPipeline
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.models.autoencoder import VAE, Decoder
from course_utils.models.classifier import Judge
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser
from course_utils.models.fast_denoiser import FastAdapter
from course_utils.models.perceptual import Backbone
from course_utils.models.realness import Realness
from course_utils.models.vector_autoencoder import VAESweep

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
    "short_denoiser": Denoiser,
    "diffusion": Denoiser,
    "weak_denoiser": Denoiser,
    "fast_adapter": FastAdapter,
    "realness": Realness,
}
BRINGS_BACK = "`git checkout data/checkpoints` brings the course's own back, `make checkpoints` trains them again"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, foreign, or cannot be written. The message names the file and the cure."""


def folder() -> Path:
    """Where the course's own checkpoints lie."""
    return runtime.data_dir() / "checkpoints"


def path_of(name: str | Path) -> Path:
    """The file of a checkpoint: one of the course's own by its name, any other by its path."""
    if str(name) in MODELS:
        return folder() / f"{name}.safetensors"
    if not isinstance(name, str | Path) or Path(name).suffix != ".safetensors":
        raise CheckpointError(
            f"{name}: not a checkpoint's name; expected one of {', '.join(MODELS)} or a .safetensors file"
        )
    return Path(name)


def header(name: str | Path) -> dict:
    """What a checkpoint says of itself: model, config, recipe, seed, metrics. The file must be whole."""
    return _checked(name)[0]


def load(name: str | Path, device: torch.device | str | None = None) -> nn.Module:
    """Rebuild a model from its checkpoint, ready for use (eval mode, float32). CheckpointError if it is not whole."""
    about, tensors = _checked(name)
    try:
        model = _rebuilt(about, tensors)
    except ValueError as error:
        _refuse(path_of(name), f"does not fit the course's {about['model']} ({error})")
    model = model.eval().requires_grad_(False).to(device or runtime.device())
    if isinstance(model, VAE | VAESweep | Decoder | Judge | Realness):
        model = model.to(memory_format=torch.channels_last)
    return model


def save(model: nn.Module, path: str | Path, *, name: str, recipe: str, metrics: dict, seed: int) -> Path:
    """Write a checkpoint in one step; for the course's own also its line in the manifest.

    When it returns, the file has been read back and found equal. CheckpointError if the weights are not finite or too
    large for float16, or if the file cannot be written; what lay there before is then still there.
    """
    target = _target(path)
    raw = _packed(model, target, name, recipe, metrics, seed)
    try:
        if target.parent != Path(os.path.realpath(folder())) or target.stem not in MODELS:
            files.replace({target: raw})
        elif target.stem != name:
            raise ValueError(f"name: got {name!r} for the course's own {target.name}; expected {target.stem!r}")
        else:
            with files.lock(_lock()):
                listed = manifest() if os.path.lexists(_manifest()) else {}
                listed[target.name] = _entry(raw, sealed.words(raw))
                text = json.dumps(dict(sorted(listed.items())), indent=2) + "\n"
                files.replace({target: raw, _manifest(): text.encode()})
        written = files.read(target)
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({files.why(error)}); a file that was there before is unchanged. "
            "Make room or give another place, and save again"
        ) from None
    if written != raw:  # another process has saved to the same place since; a whole file lies there all the same
        _parsed(target, written)
    return target


def check_writable(path: str | Path) -> None:
    """Try a place before a long training: CheckpointError if `save` could not write this file now."""
    try:
        files.check_writable(_target(path))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({files.why(error)}); make room or give another place"
        ) from None


def manifest() -> dict[str, dict]:
    """The course's own checkpoints: file → hash, size, recipe, metrics. CheckpointError if it cannot be relied on."""
    try:
        found = json.loads(files.read(_manifest()))
    except FileNotFoundError:
        problem = "is missing"
    except OSError as error:
        problem = f"cannot be read ({files.why(error)})"
    except (ValueError, RecursionError):
        problem = "is damaged (it is not JSON)"
    else:
        entries = isinstance(found, dict) and all(_is_entry(entry) for entry in found.values())
        problem = "" if entries else "is damaged (expected a file's sha256, bytes, recipe and metrics in each entry)"
    if problem:
        raise CheckpointError(
            f"data/checkpoints/manifest.json {problem}; `git checkout data/checkpoints/manifest.json` brings it back"
        )
    return found


def changed_since(digests: Mapping[str, str]) -> list[str]:
    """Which checkpoints are not those that these names and beginnings of their hashes stand for: trained again since."""
    shipped = manifest()
    return [name for name, digest in digests.items() if not shipped[f"{name}.safetensors"]["sha256"].startswith(digest)]


def load_pipeline(sharp: bool = True, device: torch.device | str | None = None) -> TextToPicture:
    """The whole stack from the course's checkpoints: VAE (with the sharp decoder or its own), CLIP, denoiser."""
    vae = load("vae", device)
    if sharp:
        vae.decoder = load("sharp_decoder", device)
    return TextToPicture(vae, load("clip", device), load("denoiser", device), RectifiedFlow())


def load_fast_pipeline(pipeline: TextToPicture | None = None, adapter: str | Path = "fast_adapter") -> FastPipeline:
    """A pipeline of the course's denoiser with its student in the denoiser's place: pictures in 1, 2, 4 or 8 forwards.

    pipeline: one to share VAE and CLIP with, `load_pipeline()` by default.
    """
    pipeline = pipeline or load_pipeline()
    fast = load(adapter, pipeline.device).on(load("denoiser", pipeline.device))
    return FastPipeline(pipeline.vae, pipeline.clip, fast, pipeline.path)


def _manifest() -> Path:
    return folder() / "manifest.json"


def _lock() -> Path:
    return folder() / ".lock"


def _target(path: str | Path) -> Path:
    """Where a file will be written: not a link, which would be replaced, but what it points at."""
    if Path(path).suffix != ".safetensors":
        raise CheckpointError(f"{path}: not a checkpoint's place; expected a name that ends in .safetensors")
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a null character
        raise CheckpointError(f"{path!r} cannot be written ({error}); give another place") from None


def _entry(raw: bytes, words: dict[str, str]) -> dict:
    """What the manifest says of a file."""
    return {
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
        "recipe": words["recipe"],
        "metrics": json.loads(words["metrics"]),
    }


def _is_entry(entry: object) -> bool:
    kinds = {"sha256": str, "bytes": int, "recipe": str, "metrics": dict}
    return isinstance(entry, dict) and {key: type(value) for key, value in entry.items()} == kinds


def _refuse(path: Path, problem: str) -> NoReturn:
    own = path.parent == folder()
    cure = BRINGS_BACK if own else "copy it again from where it is whole, or train it again"
    raise CheckpointError(f"{path.name if own else path} {problem}; {cure}")


def _checked(name: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """What a checkpoint says of itself, and its tensors: whole, and for the course's own as listed."""
    path = path_of(name)
    if str(name) not in MODELS:
        return _parsed(path, _read(path))
    about, tensors, problem = _own(path)
    if problem:
        with suppress(OSError), files.lock(_lock(), 10.0):  # perhaps another process was between the file and its line
            about, tensors, problem = _own(path)
    if not problem and about["model"] != str(name):
        problem = f"holds a {about['model']}, expected a {name}"
    if problem:
        _refuse(path, problem)
    return about, tensors


def _own(path: Path) -> tuple[dict, dict[str, Tensor], str]:
    """One of the course's own files, and in which way the manifest contradicts it, if it does."""
    raw = _read(path)
    about, tensors = _parsed(path, raw)
    listed, seen = manifest().get(path.name), _entry(raw, sealed.words(raw))
    if listed is None:
        return about, tensors, "is not listed in data/checkpoints/manifest.json"
    # As text, because a metric that is not a number equals nothing, not even itself.
    same = json.dumps(listed, sort_keys=True) == json.dumps(seen, sort_keys=True)
    return about, tensors, "" if same else "does not match data/checkpoints/manifest.json"


def _read(path: Path) -> bytes:
    try:
        return files.read(path)
    except FileNotFoundError:
        problem = "is a link to a file that is missing" if path.is_symlink() else f"is missing from {path.parent.name}/"
    except OSError as error:
        problem = f"cannot be read ({files.why(error)})"
    _refuse(path, problem)


def _parsed(path: Path, raw: bytes) -> tuple[dict, dict[str, Tensor]]:
    """What a file says of itself, and its tensors, all of which match its digest."""
    try:
        words = sealed.words(raw)
    except ValueError as error:
        _refuse(path, f"is damaged ({error})")
    if words.get("format") != FORMAT or words.get("model") not in MODELS:
        _refuse(path, f"is not a checkpoint of this course (format {words.get('format')!r}, expected {FORMAT!r})")
    if "digest" not in words:
        _refuse(path, "carries no digest, so that nothing says whether it is whole")
    try:
        return _about(words), sealed.tensors(raw)
    except ValueError as error:
        _refuse(path, f"is damaged ({error})")


def _about(words: dict[str, str]) -> dict:
    """The words of a header as what they stand for; ValueError for any that stands for nothing."""
    about: dict = dict(words)
    for key, kind in (("config", dict), ("metrics", dict), ("seed", int), ("recipe", str)):
        try:
            about[key] = words[key] if kind is str else json.loads(words[key])
        except (KeyError, ValueError, RecursionError):
            raise ValueError(f"{key}: is not in its header as JSON") from None
        if type(about[key]) is not kind:
            raise ValueError(f"{key}: got {str(words[key])[:60]}; expected {kind.__name__}")
    return about


class _AtMost(TorchFunctionMode):
    """While it is on, layers may ask for so many numbers in all, and no tensor has more; ValueError instead."""

    def __init__(self, numbers: int):
        super().__init__()
        self.numbers, self.left = numbers, numbers

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        asked = made.numel() if isinstance(made, Tensor) else 0
        if func is torch.empty:  # what layers make their weights of, before they are filled
            self.left -= asked
        if asked > self.numbers or self.left < 0:
            raise ValueError("config: asks for a far larger model than the tensors in the file are of")
        return made


def _rebuilt(about: dict, tensors: dict[str, Tensor]) -> nn.Module:
    """The model of these sizes with these tensors, which must be all of its own, of its shapes, and finite."""
    held = sum(tensor.numel() for tensor in tensors.values())
    try:
        with _AtMost(2 * held + 2**20):  # a backbone starts as a network with one layer more
            model = MODELS[about["model"]].from_config(about["config"])
    except ImportError:  # says nothing of the file
        raise
    except Exception as error:  # the layers have an error each for sizes that do not go together
        says = str(error) if isinstance(error, ValueError) else f"config: {type(error).__name__} {error}".strip()
        raise ValueError(" ".join(says.split())) from None
    wanted = model.state_dict()
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        raise ValueError(f"{odd[0]} {'is missing' if odd[0] in wanted else 'has no place in it'}")
    for key, want in wanted.items():
        got, kept = tensors[key], torch.float16 if want.is_floating_point() else want.dtype
        if got.dtype != kept or got.shape != want.shape:
            raise ValueError(f"{key}: got {got.dtype} {tuple(got.shape)}; expected {kept} {tuple(want.shape)}")
        if not bool(got.isfinite().all()):
            raise ValueError(f"{key}: holds values that are not finite")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    return model


def _packed(model: nn.Module, target: Path, name: str, recipe: str, metrics: dict, seed: int) -> bytes:
    """The file of a model, after everything was checked that `load` will check."""
    if name not in MODELS:
        raise ValueError(f"name: got {name!r}; expected one of {', '.join(MODELS)}")
    if not isinstance(model, MODELS[name]):
        raise ValueError(f"model: got {type(model).__name__}; expected a {MODELS[name].__name__} for {name!r}")
    tensors = {key: _stored(key, value.detach().cpu(), target) for key, value in model.state_dict().items()}
    try:
        words = {"config": json.dumps(model.config_dict()), "metrics": json.dumps(metrics), "seed": json.dumps(seed)}
    except TypeError as error:
        raise ValueError(f"metrics: got {metrics!r:.200}, seed: got {seed!r:.60}; expected numbers ({error})") from None
    words |= {"format": FORMAT, "model": name, "recipe": recipe}
    try:
        with torch.random.fork_rng(devices=[]):  # trying it must not change what is drawn afterwards
            _rebuilt(_about(words), tensors)
    except ValueError as error:
        raise ValueError(f"{target.name} was not written, for it could not be loaded again: {error}") from None
    return sealed.pack(tensors, words)


def _stored(key: str, value: Tensor, target: Path) -> Tensor:
    """A tensor as the file holds it."""
    if not value.is_floating_point():
        return value.contiguous()
    half = value.half().contiguous()
    if not bool(half.isfinite().all()):
        beyond = f"its largest value is {float(value.abs().max()):.3g}, beyond float16's 65504"
        problem = beyond if bool(value.isfinite().all()) else "it holds values that are not finite"
        raise CheckpointError(
            f"{target.name} was not written: {key} cannot be kept, {problem}; train again with a lower learning rate"
        )
    return half
