"""What the KL term does to latents, for the decoder and for the denoiser.  `python benchmarks/diffusability.py`

Autoencoders of the course's form learn from the same crops, in the same order and for the same steps. They differ in β, the
weight of the KL term, and with β = 0 the noise on z goes, too, so the two cannot be told apart here. On the latents of each a
denoiser of one size then trains, again for the same steps. The numbers go to data/results/diffusability.json: reconstruction,
spectra of latents and of what the denoisers draw, how far noise on a latent moves the decoded picture, and adherence and
kernel distance with their 95 % intervals.

A stopped run goes on with the same command; what it keeps lies in `.cache/diffusability` (`COURSE_CACHE` moves it).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from course_utils import runtime
from course_utils.checkpoints import load
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.metrics import latent_power_spectrum, psnr
from course_utils.evaluation.reports import Scores, rounded
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training import state
from course_utils.training.batches import draw_crops, place
from course_utils.training.loop import Part, fit
from course_utils.training.recipes.clip import captions_embedded
from course_utils.training.recipes.denoiser import denoiser_part
from course_utils.training.recipes.vae import vae_part

WEIGHTS, SCALES, NOISES = (0.0, 0.03), (1.0, 3.0, 5.0), (0.1, 0.2, 0.4)
SIDE, STEPS, CHUNK = 64, 20, 64  # denoisers draw 64 pixels; autoencoders train on crops of as many, of pictures of 128
SHAPE = DenoiserConfig(width=256, depth=4, heads=8, patch=2, channels=4, side=SIDE // 8)


class Experiment:
    """The data that all share, and the folder in which a run is kept."""

    def __init__(self, vae_steps: int, denoiser_steps: int, captions: int, pictures: int, seed: int):
        self.steps, self.seed = {"vae": vae_steps, "denoiser": denoiser_steps}, seed
        self.folder = runtime.cache_dir() / "diffusability" / f"{vae_steps}-{denoiser_steps}-{pictures}-seed-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scores, self.clip, small = Scores(captions, SIDE), load("clip"), Plushies(pictures, size=SIDE)
        self.small, self.conditions = small.in_memory().pictures, captions_embedded(small, self.clip)
        self.large = Plushies(pictures // 2).in_memory()
        self.test = to_float(Plushies(captions, "test").in_memory().pictures)

    def trained(self, name: str, model: nn.Module, part: Part) -> nn.Module:
        """The model, fitted; from the folder, if it was before."""
        weights, kept = self.folder / f"{name}.safetensors", self.folder / f"{name}-state"
        if not weights.exists():

            def say(step: int, total: int, logs: dict, preview=None) -> None:
                print(f"{name} {step}/{total} loss {logs['loss']:.4f}", flush=True)

            steps = self.steps[name.split()[0]]
            fit(part, steps=steps, seed=self.seed, log_every=50, save_every=100, progress=say, state=kept)
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
            state.remove(kept)
        model.load_state_dict(load_file(weights))
        return model.eval().requires_grad_(False)

    def autoencoder(self, weight: float) -> VAE:
        torch.manual_seed(self.seed)
        model = place(VAE())
        self.trained(f"vae {weight:g}", model, vae_part(model, self.large, 32, weight, ema=0.999, drawn=draw_crops))
        model.measure_latents(self.large.pictures[:2048])
        return model

    def denoiser(self, weight: float, vae: VAE) -> Denoiser:
        torch.manual_seed(self.seed)
        model = place(Denoiser(SHAPE))
        z = in_chunks(lambda x: vae.to_latent(to_float(x)), self.small)
        part = denoiser_part(model, z, self.conditions, 128)
        part.lr = 1e-3
        return self.trained(f"denoiser {weight:g}", model, part)

    @torch.no_grad()
    def of_latents(self, vae: VAE) -> dict:
        """Reconstruction, KL, spectrum, and how near to its picture a noisy latent is decoded."""
        mean = in_chunks(lambda x: vae.encode(x).mode(), self.test)
        z = vae.normalise(mean)
        clean = in_chunks(vae.to_picture, z)
        eps = torch.randn(z.shape, generator=runtime.generator(0))
        noisy = {f"{noise:g}": in_chunks(vae.to_picture, z + noise * eps) for noise in NOISES}
        frequency, power = latent_power_spectrum(z)
        return {
            "psnr": float(psnr(self.test, clean).mean()),
            "kl": float(in_chunks(lambda x: vae.encode(x).kl(), self.test).mean()),
            "deviation": mean.std((0, 2, 3)).tolist(),
            "cycles_per_side": (frequency * z.shape[-1]).tolist(),
            "power": power.tolist(),
            "psnr_of_noisy_to_clean": {noise: float(psnr(clean, x).mean()) for noise, x in noisy.items()},
        }

    def of_drawings(self, vae: VAE, denoiser: Denoiser) -> list[dict]:
        """At each w: adherence, kernel distance, and the spectrum of the drawn latents as a share of the real ones'."""
        pipeline, found = TextToPicture(vae, self.clip, denoiser, RectifiedFlow()), []
        real = latent_power_spectrum(in_chunks(vae.to_latent, self.scores.pictures))[1]
        with torch.no_grad():
            c = self.clip.encode_text(self.scores.texts)
        for w in SCALES:
            x, z = zip(*(self._drawn(pipeline, part, w, k) for k, part in enumerate(c.split(CHUNK))), strict=True)
            share = latent_power_spectrum(torch.cat(z))[1] / real
            found.append({"w": w, **self.scores(torch.cat(x)), "share_of_power": share.tolist()})
            print(json.dumps(found[-1]), flush=True)
        return found

    @staticmethod
    def _drawn(pipeline: TextToPicture, condition: Tensor, w: float, seed: int) -> tuple[Tensor, Tensor]:
        last = []

        def keep(step: int, z: Tensor, prediction) -> None:
            last[:] = [z.clone()]

        x = pipeline.generate(condition, guidance_scale=w, steps=STEPS, seed=seed, callback=keep)
        return x.cpu(), last[0].cpu()

    def results(self) -> dict:
        arms = {}
        for weight in WEIGHTS:
            vae = self.autoencoder(weight)
            denoiser = self.denoiser(weight, vae)
            arms[f"{weight:g}"] = {**self.of_latents(vae), "by_w": self.of_drawings(vae, denoiser)}
        return arms


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae-steps", type=int, default=1_200, help="of 32 crops")
    parser.add_argument("--denoiser-steps", type=int, default=1_200, help="of 128 latents")
    parser.add_argument("--captions", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=8_000, help="to train the denoisers on; autoencoders get half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=runtime.data_dir() / "results" / "diffusability.json")
    asked = parser.parse_args(arguments)
    if min(asked.vae_steps, asked.denoiser_steps) < 1 or asked.captions < 3 or asked.pictures < 2:
        parser.error("expected steps of 1 or more, --captions of 3 or more, and --pictures of 2 or more")
    print(runtime.setup(), flush=True)
    experiment = Experiment(asked.vae_steps, asked.denoiser_steps, asked.captions, asked.pictures, asked.seed)
    about = {k: v for k, v in vars(asked).items() if k != "out"} | {"weights": WEIGHTS, "steps": STEPS}
    found = rounded({"about": about, "arms": experiment.results()})
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
