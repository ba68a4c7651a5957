"""How real do generated pictures look to a classifier that was trained to tell them from real ones?

The judge only looks for attributes, so it calls a smeared bear right. `models.realness.Realness` has seen real and
generated pictures at all guidance scales. *Real* means reconstructed: encoded, and drawn by the decoder that also draws
the generated ones. Both then have the decoder's blur and its fur, and what is left to tell them apart is what the
denoiser has drawn.

What the classifier trains on and what it is used on have no noise and no picture in common: it trains on noise of
negative seeds (`training_seed`) and on real pictures of a seed of their own (`PICTURES_SEED`), which no recipe trains a
generator on. Whoever measures uses seeds from 0 upwards, and the splits val, test or heldout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.arguments import whole
from course_utils.datasets.plushies import PlushieTensors
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.chunks import device_of, in_chunks
from course_utils.images import check_pictures, to_float

SCALES = (-2.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0)
"""The w at which pictures are generated for training, all equally often."""

PICTURES_SEED = 7_001
"""Of the real pictures, and the captions, that the classifier trains on: train split, drawn with this seed and later ones."""

CHUNK = 128


def training_seed(k: int) -> int:
    """The pipeline's seed for chunk k of what the classifier trains on: -1, -2, ... Measurements count up from 0."""
    return -1 - whole("k", k, 0)


def reconstructed(vae: nn.Module, pictures: Tensor) -> Tensor:
    """Real pictures (N, 3, H, W) as the pipeline's decoder draws them: through the VAE and back, in [-1, 1]."""
    check_pictures(pictures, "pictures")
    return in_chunks(lambda x: vae.to_picture(vae.to_latent(x)), pictures, size=CHUNK, on=device_of(vae))


def generated(pipeline: TextToPicture, captions: Sequence[str], scales: Tensor, seeds: Sequence[int]) -> Tensor:
    """A picture of each caption (N, 3, H, W), with a w for each, scales (N,); chunk k of `CHUNK` has the noise of seeds[k]."""
    chunks = range(0, len(captions), CHUNK)
    if len(scales) != len(captions) or len(seeds) != len(chunks):
        came = f"{len(scales)} scales and {len(seeds)} seeds"
        raise ValueError(f"scales, seeds: got {came}; expected {len(captions)} and {len(chunks)}")
    parts = [
        pipeline.generate(list(captions[i : i + CHUNK]), guidance_scale=scales[i : i + CHUNK], seed=seed)
        for i, seed in zip(chunks, seeds, strict=True)
    ]
    return torch.cat([part.cpu() for part in parts if part is not None])


def real_and_generated(
    pipeline: TextToPicture, data: PlushieTensors, seeds: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Each picture of `data` reconstructed, one generated from its caption, and at which w: (N, 3, H, W) twice, (N,)."""
    scales = torch.tensor(SCALES).repeat(-(-len(data) // len(SCALES)))[: len(data)]
    return (
        reconstructed(pipeline.vae, to_float(data.pictures)),
        generated(pipeline, data.captions, scales, seeds),
        scales,
    )


def realness(model: nn.Module, pictures: Tensor) -> Tensor:
    """For each picture (N, 3, H, W) in [-1, 1], the probability that it is real: (N,) on the CPU.

    The score of a set is the mean. It is not 1 for real pictures, since some generated ones look alike: give the mean
    of `reconstructed` pictures that the classifier has not trained on beside it, which is the most that can be hoped for.
    """
    check_pictures(pictures, "pictures")
    return in_chunks(lambda x: model(x).sigmoid(), pictures, on=device_of(model))
