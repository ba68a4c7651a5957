"""Metrics of tensors on a device without float64, such as Apple's GPU: what needs float64 goes to the CPU first."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from course_utils.evaluation import energy, intervals, judge, kernel, latent_statistics, metrics, probe, redundancy
from course_utils.evaluation import zero_shot as zs
from course_utils.evaluation.chunks import in_chunks


class Away(torch.Tensor):
    """A tensor that behaves as on such a device: no float64, no numpy, and what is computed from it is there too."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.Tensor.cpu or (function is torch.Tensor.to and args[1:] == (torch.device("cpu"),)):
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].as_subclass(torch.Tensor)
        if function is torch.Tensor.numpy:
            raise TypeError("can't convert a tensor on a device to numpy")
        result = super().__torch_function__(function, types, args, kwargs or {})
        if any(isinstance(x, Away) and x.dtype == torch.float64 for x in tree_leaves(result)):
            raise TypeError("the device has no float64")
        return result


def away(x):
    return x.as_subclass(Away)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, Y = randn(4, 3, 16, 16).clamp(-1, 1), randn(4, 3, 16, 16, seed=1).clamp(-1, 1)
F, G = randn(40, 3), randn(40, 3, seed=1) + 0.5
ROWS = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 0, -1, 3, 1], [2, 3, 1, 0, 2, 2], [3, 4, 3, 1, 1, 3]])


class Squares(nn.Module):
    def forward(self, x, y):
        return ((x - y) ** 2).mean((1, 2, 3), keepdim=True)


class Truth:
    """A judge, and a CLIP, that answer without looking."""

    def predict(self, x):
        return ROWS[: len(x)]

    def encode_image(self, x):
        return nn.functional.normalize(x.flatten(1)[:, :8], dim=1)

    def encode_text(self, texts):
        return nn.functional.normalize(torch.tensor([[float(len(t) % k) for k in range(2, 10)] for t in texts]), dim=1)


@pytest.mark.parametrize(
    ("metric", "inputs"),
    [
        (metrics.psnr, (X, Y)),
        (metrics.ssim, (X, Y)),
        (lambda x, y: metrics.perceptual_distance(x, y, Squares()), (X, Y)),
        (lambda x: metrics.lpips_diversity(x, Squares()), (X,)),
        (metrics.radial_power_spectrum, (X,)),
        (metrics.high_frequency_ratio, (X, Y)),
        (lambda a, b: metrics.recall_at_1(a, b, [str(i) for i in range(len(a))]), (F, G)),
        (kernel.kernel_distance, (F, G)),
        (kernel.kernel_interval, (F, G)),
        (lambda f: kernel.real_against_real(f, 10, 20, draws=2), (F,)),
        (lambda x, y: kernel.StandardFeatures(lambda part: part.mean((2, 3)), x)(y), (X, Y)),
        (intervals.mean_interval, (F[:, 0],)),
        (energy.energy_distance, (F, G)),
        (lambda x: energy.energy_noise_floor(lambda: x, 2), (F,)),
        (latent_statistics.active_dimensions, (F,)),
        (latent_statistics.kl_per_dimension, (F, G)),
        (latent_statistics.aggregate_moments, (F, G)),
        (redundancy.neighbour_correlation, (X,)),
        (redundancy.pca_energy, (X,)),
        (redundancy.dct_energy, (X,)),
        (redundancy.png_bits_per_pixel, ((X * 100 + 100).to(torch.uint8),)),
        (lambda x, y: probe.linear_probe(x, y, x, y), (F, (F[:, 0] > 0).long())),
        (lambda v: judge.normalised_entropy(v, 4), (torch.tensor([0, 1, 1, 3]),)),
        (lambda x, rows: judge.accuracy(Truth(), x, rows), (X, ROWS)),
        (lambda x: judge.open_diversity(Truth(), x, torch.full((6,), -1)), (X,)),
        (lambda x, rows: zs.zero_shot(Truth(), x, rows), (X, ROWS)),
        (lambda x: in_chunks(lambda part: part.mean((1, 2, 3)), x, size=3), (X,)),
    ],
)
def test_a_device_without_float64_gets_the_same_numbers(metric, inputs):
    expected, found = metric(*inputs), metric(*(away(x) for x in inputs))
    for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        assert not isinstance(b, Away), "results are on the CPU"
        assert a == b if isinstance(a, float) else torch.equal(a, b)


@pytest.mark.parametrize("mistake", [lambda x: x.double(), lambda x: x.to(torch.float64), lambda x: x.mean().double()])
def test_the_stand_in_refuses_float64(mistake):
    with pytest.raises(TypeError, match="no float64"):
        mistake(away(X))
    assert mistake(away(X).cpu()).dtype == torch.float64
