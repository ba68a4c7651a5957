"""A text-to-picture pipeline for a processor's cores: each draws its share of the pictures, from end to end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Lock

import torch
from torch import Tensor

from course_utils.arguments import whole
from course_utils.diffusion.few_steps import FastPipeline
from course_utils.diffusion.pipeline import TextToPicture


class ThreadedPipeline(TextToPicture):
    """The same pictures as `pipeline`'s, up to rounding; a batch is shared out over `threads` threads.

    A small denoiser's layers are too short to be split among cores one by one, least of all from a widget's
    own thread: there, torch's threads and those of the notebook's main thread get into each other's way.
    The conditions of the last prompts are remembered, as a slider asks for the same prompt again and again; so
    make a new one when CLIP or the null condition have been trained further.
    """

    def __init__(self, pipeline: TextToPicture, threads: int):
        threads = whole("threads", threads, 1, 1024)
        super().__init__(pipeline.vae, pipeline.clip, pipeline.denoiser, pipeline.path)
        self.threads, self.pipeline = threads, pipeline
        self._embed = lru_cache(maxsize=64)(pipeline.embed)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = Lock()

    def close(self) -> None:
        """End the threads, after what they are at. Whoever asks for pictures later gets new ones."""
        with self._pool_lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False)
            self._pool = None

    def embed(self, prompt: str) -> Tensor:
        """The condition of a prompt, (1, D), as the pipeline's. One tensor for all who ask: not to be written to."""
        if not isinstance(prompt, str):  # which the pipeline refuses, in its own words
            return super().embed(prompt)
        return self._embed(prompt)

    def check_way(self, steps: int, sampler: str, negative: str) -> None:
        self.pipeline.check_way(steps, sampler, negative)

    def _run(self, cond, noise, generators, guidance_scale, *, callback=None, **how) -> Tensor | None:
        if callback is not None:  # it wants to see the whole batch
            return self.pipeline._run(cond, noise, generators, guidance_scale, callback=callback, **how)

        def share(index: list[int]) -> Tensor | None:
            w = guidance_scale[index] if guidance_scale.ndim else guidance_scale
            chosen = [generators[i] for i in index]
            return self.pipeline._run(cond[index], noise[index], chosen, w, **how)

        shares = [part.tolist() for part in torch.arange(len(cond)).tensor_split(self.threads) if len(part)]
        with self._pool_lock:
            if self._pool is None:
                # In a thread of the pool, a layer is the work of that thread alone.
                self._pool = ThreadPoolExecutor(
                    self.threads, "pictures", initializer=torch.set_num_threads, initargs=(1,)
                )
            parts = self._pool.map(share, shares)  # all are handed over here
        drawn = list(parts)
        pictures = [part for part in drawn if part is not None]
        return torch.cat(pictures) if len(pictures) == len(drawn) else None


def on_all_cores(pipeline: TextToPicture, threads: int | None = None) -> TextToPicture:
    """`pipeline` shared out over the cores if it works on a CPU; one on a GPU, or of a class unknown here, as it is."""
    if type(pipeline) not in (TextToPicture, FastPipeline) or pipeline.device.type != "cpu":
        return pipeline
    return ThreadedPipeline(pipeline, threads or torch.get_num_threads())
