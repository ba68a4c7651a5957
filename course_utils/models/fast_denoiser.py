"""A denoiser that takes long steps, guided, in one forward each; and the small file that makes one of the course's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.models.configured import Configured
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.layers import one_for_each, silent_embedding, sinusoidal


class FastDenoiser(Denoiser):
    """u(z_t, t, s, condition, w): latents (B, C, side, side), times t and s (B,), s ≤ t, conditions (B, D), scales w (B,) →
    mean velocities, as the latents, of the way from t to s that is guided with w.

    Beside t it is told how far to go and how strongly it is guided (Frans et al. 2024; Meng et al. 2023).
    w = 0 is unconditional, whatever the condition.
    """

    def __init__(self, config: DenoiserConfig | None = None):
        super().__init__(config)
        self.length, self.scale = (silent_embedding(256, self.config.width) for _ in range(2))

    def forward(self, z: Tensor, t: Tensor, s: Tensor, condition: Tensor, guidance_scale: Tensor) -> Tensor:  # type: ignore[override]
        self.check(z, t, condition)
        one_for_each("latent", len(z), s=s, guidance_scale=guidance_scale)
        length = self.length(sinusoidal(1000.0 * (t - s), 256))
        # Scales from 0 to 15 turn the fastest of the features as far as 1.5 of time does.
        scale = self.scale(sinusoidal(100.0 * guidance_scale, 256))
        return self.answer(z, self.question(t, condition) + length + scale)


@dataclass(frozen=True)
class AdapterConfig(DenoiserConfig):
    """The sizes of the denoiser that is adapted, and the rank of what is added to its matrices."""

    rank: int = 48


def _matrices(c: DenoiserConfig) -> dict[str, tuple[int, int]]:
    """A denoiser's matrices by name, with their sizes (m, n)."""
    w, token = c.width, c.channels * c.patch**2
    block = {
        "attention.qkv": (3 * w, w),
        "attention.out": (w, w),
        "mlp.0": (4 * w, w),
        "mlp.2": (w, 4 * w),
        "modulation": (6 * w, w),
    }
    return {
        "input": (w, token),
        "time.0": (w, 256),
        "time.2": (w, w),
        "condition.0": (w, c.condition),
        "condition.2": (w, w),
        **{f"blocks.{i}.{name}": size for i in range(c.depth) for name, size in block.items()},
        "modulation": (2 * w, w),
        "output": (token, w),
    }


class FastAdapter(Configured, nn.Module):
    """What turns a trained `Denoiser` into a `FastDenoiser`: to each of its matrices W a product B A of low rank is added.

    LoRA (Hu et al. 2022: A random, B zero, so that it starts as the denoiser), used for few steps as in LCM-LoRA
    (Luo et al. 2023). A third of the denoiser's numbers, and none more once merged.
    """

    Config = AdapterConfig

    def __init__(self, config: AdapterConfig | None = None):
        super().__init__()
        self.config = c = config or AdapterConfig()
        sizes = _matrices(c)
        self.names = [f"{name}.weight" for name in sizes]
        # Of `torch.empty`, as layers make theirs: a checkpoint that asks for too much is refused before it gets any.
        self.down = nn.ParameterList(torch.empty(c.rank, n).normal_(std=n**-0.5) for _, n in sizes.values())  # A
        self.up = nn.ParameterList(torch.empty(m, c.rank).zero_() for m, _ in sizes.values())  # B
        self.length, self.scale = (silent_embedding(256, c.width) for _ in range(2))

    @staticmethod
    def _of(config: DenoiserConfig) -> DenoiserConfig:
        return DenoiserConfig(**{name: getattr(config, name) for name in DenoiserConfig.__dataclass_fields__})

    def weights(self, denoiser: Denoiser) -> dict[str, Tensor]:
        """Those of the fast denoiser: W + B A for each matrix W of `denoiser`, all else as it is, and the embeddings."""
        if denoiser.config != self._of(self.config):
            raise ValueError(f"denoiser: got one of {denoiser.config}; expected one of {self._of(self.config)}")
        found = {name: value.detach() for name, value in denoiser.state_dict().items()}
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            found[name] = found[name] + up @ down
        for kind in ("length", "scale"):
            found |= {f"{kind}.{name}": p for name, p in getattr(self, kind).named_parameters()}
        return found

    def on(self, denoiser: Denoiser) -> FastDenoiser:
        """The fast denoiser that this adapter makes of `denoiser`, which stays as it is."""
        fast = FastDenoiser(denoiser.config).to(denoiser.null)
        fast.load_state_dict({name: value.detach() for name, value in self.weights(denoiser).items()})
        return fast.eval().requires_grad_(False)
