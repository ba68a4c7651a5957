"""How good are the checkpoints?  `python benchmarks/quality.py [--part judge vae sharp clip denoiser soft]`

Measures the course's own checkpoints on pictures and captions that none of them has trained on, prints the
numbers, and writes them to data/metrics.json, where the README and the notebooks find them. A part that is
not asked for keeps the numbers it had. Shares come with Wilson's 95 % interval; distances between sets of pictures are kernel
distances on the judge's features to validation pictures, with real against real beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.checkpoints import load, load_pipeline
from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.datasets.captions import full_caption, named
from course_utils.evaluation import metrics
from course_utils.evaluation.chunks import in_chunks, reconstructed
from course_utils.evaluation.intervals import mean_interval, share_interval
from course_utils.evaluation.judge import accuracy, adherence, open_diversity
from course_utils.evaluation.realness import realness
from course_utils.evaluation.reports import Distances, leaving_open, pictures, rounded
from course_utils.evaluation.zero_shot import zero_shot

SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0)
CHUNK = 128


def accuracy_intervals(found: dict[str, float], attributes: Tensor) -> dict[str, tuple[float, float]]:
    """Of each attribute's accuracy, over the pictures that have it."""
    counts = (attributes >= 0).sum(0).tolist()
    return {name: share_interval(share, counts[NAMES.index(name)]) for name, share in found.items()}


def judge_part(asked: argparse.Namespace) -> dict:
    x, attributes, _ = pictures(asked.pictures)
    held, held_attributes, _ = pictures(asked.pictures, "heldout")
    model = load("judge")
    found, found_held = accuracy(model, x, attributes), accuracy(model, held, held_attributes)
    return {
        "pictures": len(x),
        "accuracy": found,
        "accuracy_interval": accuracy_intervals(found, attributes),
        "accuracy_heldout": found_held,
        "accuracy_heldout_interval": accuracy_intervals(found_held, held_attributes),
    }


def vae_part(asked: argparse.Namespace) -> dict:
    x, attributes, _ = pictures(asked.pictures)
    vae, model = load("vae"), load("judge")
    x_hat = in_chunks(lambda part: vae.to_picture(vae.to_latent(part)), x)
    latent = vae.to_latent(x[:1].to(runtime.device()))
    judged = accuracy(model, x_hat, attributes)
    return {
        "pictures": len(x),
        "psnr": float(metrics.psnr(x, x_hat).mean()),
        "ssim": float(metrics.ssim(x, x_hat).mean()),
        "kl": float(in_chunks(lambda part: vae.encode(part).kl(), x).mean()),
        "compression": x[0].numel() / latent[0].numel(),
        "judge_on_reconstructions": statistics.mean(judged.values()),
        "judge_on_reconstructions_each": judged,
    }


def sharp_part(asked: argparse.Namespace) -> dict:
    x, attributes, _ = pictures(asked.pictures)
    vae, sharp, model = load("vae"), load("sharp_decoder"), load("judge")
    z = in_chunks(lambda part: vae.encode(part).mode(), x)
    distances = Distances(asked.pictures)
    result: dict = {"pictures": len(x), "real_against_real": distances.of_real(len(x))}
    for name, decoder in (("l2", vae.decoder), ("sharp", sharp)):
        x_hat = in_chunks(lambda part, decoder=decoder: decoder(part).clamp(-1, 1), z)
        result[name] = {
            "high_frequency_ratio": metrics.high_frequency_ratio(x_hat, x),
            "lpips": float(metrics.perceptual_distance(x, x_hat).mean()),
            "psnr": float(metrics.psnr(x, x_hat).mean()),
            "ssim": float(metrics.ssim(x, x_hat).mean()),
            "kernel_distance": distances.of(x_hat),
            "judge_on_reconstructions": statistics.mean(accuracy(model, x_hat, attributes).values()),
        }
    result["lpips_drop"] = 1 - result["sharp"]["lpips"] / result["l2"]["lpips"]
    return result


def recall_ceiling(attributes: Tensor, captions: list[str]) -> float:
    """Expected recall@1 of an oracle that knows every picture's attributes, since captions leave some out.

    Of the captions that are true of a picture it takes the one that names most (the least likely by chance);
    where several name as much, it guesses.
    """
    asked = torch.stack([named(text) for text in captions])
    true = ((asked == attributes[:, None]) | (asked < 0)).all(-1)  # (pictures, captions)
    weight = torch.tensor([math.log(len(ATTRIBUTES[name])) for name in NAMES])
    told = (asked >= 0).float() @ weight
    best = torch.where(true, told, -torch.inf).amax(1)
    equal = (true & (told >= best[:, None] - 1e-4)).sum(1)
    return float(((told >= best - 1e-4).float() / equal).mean())


@torch.no_grad()
def clip_part(asked: argparse.Namespace) -> dict:
    x, attributes, _ = pictures(asked.pictures)
    _, _, captions = pictures(asked.captions)
    clip = load("clip")
    image = in_chunks(clip.encode_image, x[: asked.captions])
    text = clip.encode_text(captions).cpu()
    complete = [full_caption(row) for row in attributes[: asked.captions]]
    recalls = {
        "recall_at_1": metrics.recall_at_1(image, text, captions),
        "recall_at_1_complete_captions": metrics.recall_at_1(image, clip.encode_text(complete).cpu(), complete),
        "recall_at_1_text_to_image": metrics.recall_at_1(text, image, captions),
    }
    return {
        "captions": len(captions),
        **recalls,
        **{f"{name}_interval": share_interval(recall, len(captions)) for name, recall in recalls.items()},
        "recall_at_1_of_an_oracle": recall_ceiling(attributes[: asked.captions], captions),
        "zero_shot": zero_shot(clip, x, attributes),
    }


def generate(pipeline, prompts: list[str], w: float, seed: int) -> Tensor:
    """A picture of each prompt; chunk after chunk, each with noise of its own that is the same at every w."""
    chunks = range(0, len(prompts), CHUNK)
    return torch.cat(
        [pipeline.generate(prompts[i : i + CHUNK], guidance_scale=w, steps=20, seed=seed + i).cpu() for i in chunks]
    )


def realness_of(critic: nn.Module, x: Tensor) -> dict:
    """The mean probability of being real, and the share of pictures that are taken for real."""
    found = realness(critic, x)
    taken = float((found > 0.5).float().mean())
    return {
        "score": float(found.mean()),
        "interval": mean_interval(found),
        "taken_for_real": taken,
        "taken_for_real_interval": share_interval(taken, len(x)),
    }


def denoiser_part(asked: argparse.Namespace) -> dict:
    pipeline, model, critic = load_pipeline(), load("judge"), load("realness")
    x, _, captions = pictures(asked.captions)
    _, _, held = pictures(asked.captions, "heldout")
    distances, x_hat = Distances(asked.pictures), reconstructed(pipeline.vae, x)
    prompts = leaving_open(captions)[: asked.prompts]  # diversity needs several samples of one prompt
    rows = []
    for w in SCALES:
        start = time.perf_counter()
        row: dict = {"w": w}
        for name, texts in (("test", captions), ("heldout", held)):
            x = generate(pipeline, texts, w, seed=1)
            found = adherence(model, x, torch.stack([named(text) for text in texts]))
            row[name] = {"all_right": found.mean_all_right, "share": found.mean_share}
            row[name]["all_right_interval"] = share_interval(found.mean_all_right, int((found.asked > 0).sum()))
            row[name]["each"] = found.per_attribute
            if name == "test":
                row["kernel_distance"] = distances.of(x)
                row["realness"] = realness_of(critic, x)
        samples = [generate(pipeline, [text] * asked.samples, w, seed=2) for text in prompts]
        judged = [open_diversity(model, x, named(text)) for x, text in zip(samples, prompts, strict=True)]
        row["open_diversity"] = statistics.mean(judged)
        row["lpips_diversity"] = statistics.mean(metrics.lpips_diversity(x) for x in samples)
        rows.append(row)
        print(
            f"  w {w:4.1f}: all right {row['test']['all_right']:.3f}, "
            f"held out {row['heldout']['all_right']:.3f}; "
            f"diversity {row['open_diversity']:.3f}, LPIPS {row['lpips_diversity']:.3f}; "
            f"kernel distance {row['kernel_distance']['value']:.4f}; "
            f"realness {row['realness']['score']:.3f}; {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    best = max(rows, key=lambda row: row["test"]["all_right"])
    return {
        "captions": len(captions),
        "steps": 20,
        "prompts": len(prompts),
        "samples": asked.samples,
        "best_w": best["w"],
        "all_right": best["test"]["all_right"],
        "all_right_interval": best["test"]["all_right_interval"],
        "all_right_heldout": best["heldout"]["all_right"],
        "all_right_heldout_interval": best["heldout"]["all_right_interval"],
        "real_against_real": distances.of_real(len(captions)),
        "reconstructions": {"kernel_distance": distances.of(x_hat), "realness": realness_of(critic, x_hat)},
        "by_w": rows,
    }


def soft_part(asked: argparse.Namespace) -> dict:
    """The denoiser's adherence once more, decoded without invented fur: the same captions and noise."""
    pipeline, model, rows = load_pipeline(sharp=False), load("judge"), []
    for w in (2.0, 3.0, 5.0):
        row = {"w": w}
        for split in ("test", "heldout"):
            _, _, texts = pictures(asked.captions, split)
            found = adherence(model, generate(pipeline, texts, w, seed=1), torch.stack([named(t) for t in texts]))
            row[split] = found.mean_all_right
            row[f"{split}_interval"] = share_interval(found.mean_all_right, int((found.asked > 0).sum()))
        rows.append(row)
        print(f"  w {w:4.1f}: all right {row['test']:.3f}, held out {row['heldout']:.3f}", flush=True)
    return {"captions": asked.captions, "steps": 20, "by_w": rows}


PARTS: dict[str, Callable[[argparse.Namespace], dict]] = {
    "judge": judge_part,
    "vae": vae_part,
    "sharp": sharp_part,
    "clip": clip_part,
    "denoiser": denoiser_part,
    "soft": soft_part,
}


def shown(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(map(shown, value))
    return "nothing" if value is None else f"{value:.4g}"


def show(value: dict, indent: str = "  ") -> None:
    for name, v in value.items():
        if isinstance(v, dict) and not any(isinstance(x, dict) for x in v.values()):
            print(f"{indent}{name}: " + ", ".join(f"{k} {shown(x)}" for k, x in v.items()))
        elif isinstance(v, dict):
            print(f"{indent}{name}:")
            show(v, indent + "  ")
        elif name != "by_w":
            print(f"{indent}{name}: {shown(v)}")


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pictures", type=int, default=2048, help="real pictures behind a number")
    parser.add_argument("--captions", type=int, default=512, help="captions to retrieve and to draw")
    parser.add_argument("--prompts", type=int, default=32, help="prompts whose samples are compared")
    parser.add_argument("--samples", type=int, default=16, help="samples of each of them")
    parser.add_argument("--out", type=Path, default=runtime.data_dir() / "metrics.json")
    asked = parser.parse_args(arguments)
    if asked.captions > asked.pictures:
        parser.error(f"--captions: got {asked.captions}; expected at most --pictures, {asked.pictures}")
    print(runtime.setup(), flush=True)
    result = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    for part in asked.part:
        print(f"{part}:", flush=True)
        result[part] = rounded(PARTS[part](asked))
        show(result[part])
        ordered = {name: result[name] for name in PARTS if name in result}
        text = json.dumps(ordered, indent=1, ensure_ascii=False) + "\n"
        asked.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
