"""Metrics against scikit-image, scipy and closed forms."""

import math

import numpy as np
import pytest
import torch

from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.datasets.captions import named, unknown_words
from course_utils.evaluation import metrics


def noise(*shape, seed=0, scale=0.3):
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n, d, seed=0):
    """Features whose sample mean is 0 and whose sample covariance is exactly the identity."""
    f = gaussian(n, d, seed)
    f = f - f.mean(0)
    return f @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(f.T))).T


class Squares(torch.nn.Module):
    """In the place of LPIPS: mean squared difference, (B, 1, 1, 1)."""

    def forward(self, x, y):
        return ((x - y) ** 2).mean((1, 2, 3), keepdim=True)


def test_psnr_is_its_closed_form_and_scikit_images():
    from skimage.metrics import peak_signal_noise_ratio

    x, y = noise(3, 3, 16, 16), noise(3, 3, 16, 16, seed=1)
    mse = ((x - y) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(metrics.psnr(x, y), 10 * torch.log10(4 / mse), rtol=1e-5, atol=1e-5)
    # In [0, 1], with a range of 1, the ratio is the same.
    a, b = (x[0].double().numpy() + 1) / 2, (y[0].double().numpy() + 1) / 2
    expected = peak_signal_noise_ratio(a, b, data_range=1)
    assert float(metrics.psnr(x, y)[0]) == pytest.approx(expected, abs=1e-4)
    assert metrics.psnr(x, x).tolist() == [math.inf] * 3


def test_ssim_is_scikit_images():
    from skimage.metrics import structural_similarity

    x, y = noise(2, 3, 16, 20), noise(2, 3, 16, 20, seed=1)
    for i, value in enumerate(metrics.ssim(x, y)):
        a, b = ((p[i].permute(1, 2, 0).double().numpy() + 1) / 2 for p in (x, y))
        expected = structural_similarity(a, b, data_range=1, channel_axis=2)
        assert float(value) == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(metrics.ssim(x, x), torch.ones(2))


# lpips still passes torchvision's old `pretrained` argument.
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight enum")
def test_perceptual_distance_is_the_lpips_packages():
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    net = lpips.LPIPS(net="squeeze", lpips=False, pnet_rand=True, verbose=False).eval()
    x, y = noise(3, 3, 64, 64), noise(3, 3, 64, 64, seed=1)
    with torch.no_grad():
        expected = torch.stack([net(a[None], b[None]).squeeze() for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(metrics.perceptual_distance(x, y, net), expected, rtol=1e-4, atol=1e-5)
    assert metrics.perceptual_distance(x, x, net).tolist() == [0.0] * 3


def test_perceptual_distance_in_chunks_keeps_the_order():
    x = torch.linspace(-1, 1, 300)[:, None, None, None].expand(-1, 3, 8, 8)
    expected = torch.linspace(-1, 1, 300) ** 2
    torch.testing.assert_close(metrics.perceptual_distance(x, torch.zeros_like(x), Squares()), expected)


def test_lpips_diversity_is_the_mean_over_pairs():
    x = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(-1, 3, 8, 8)
    assert metrics.lpips_diversity(x, Squares()) == pytest.approx((0.25 + 0.25 + 1.0) / 3)
    assert metrics.lpips_diversity(x[:1].expand(4, -1, -1, -1), Squares()) == 0.0
    with pytest.raises(ValueError, match="at least 2 samples"):
        metrics.lpips_diversity(x[:1], Squares())


def test_frechet_distance_of_shifted_and_scaled_gaussians():
    f = whitened(200, 3)
    assert metrics.frechet_distance(f, f) == pytest.approx(0.0, abs=1e-9)
    assert metrics.frechet_distance(f, f + torch.tensor([3.0, 0.0, 4.0])) == pytest.approx(25.0)
    # N(0, diag(a²)) against N(0, diag(b²)): Σ (a − b)².
    a, b = torch.tensor([[1.0, 2.0, 3.0], [4.0, 2.0, 0.5]], dtype=torch.float64)
    assert metrics.frechet_distance(f * a, f * b) == pytest.approx(9.0 + 0.0 + 6.25)


def test_frechet_distance_is_scipys_where_covariances_do_not_commute():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = gaussian(300, 6) @ gaussian(6, 6, seed=1), 0.5 + gaussian(200, 6, seed=2) @ gaussian(6, 6, seed=3)
    ca, cb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    gap = (a.mean(0) - b.mean(0)).numpy()
    expected = gap @ gap + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_fewer_pictures_than_features():
    f = gaussian(5, 20)
    assert metrics.frechet_distance(f, f) == pytest.approx(0.0, abs=1e-6)
    assert metrics.frechet_distance(f, f + 1.0) == pytest.approx(20.0)
    assert metrics.frechet_distance(gaussian(9, 1), gaussian(9, 1)) == pytest.approx(0.0, abs=1e-9)


def test_white_noise_has_flat_power():
    power = metrics.radial_power_spectrum(noise(64, 3, 32, 32, scale=0.2))[1]
    torch.testing.assert_close(power[2:], torch.full_like(power[2:], 0.04), rtol=0.12, atol=0)


@pytest.mark.parametrize("cycles", [4, 8, 13])
@pytest.mark.parametrize("axis", [2, 3])
def test_stripes_have_power_at_their_frequency(cycles, axis):
    wave = torch.cos(2 * math.pi * cycles * torch.arange(32) / 32)
    x = 0.5 + 0.4 * (wave[:, None] if axis == 2 else wave[None, :]).expand(1, 3, 32, 32)
    frequencies, power = metrics.radial_power_spectrum(x)
    assert frequencies.tolist() == [k / 32 for k in range(1, 17)]
    assert float(frequencies[power.argmax()]) == cycles / 32
    assert float(power[(frequencies - cycles / 32).abs() > 0.05].max()) < 1e-6 * float(power.max())


def test_the_mean_has_no_power():
    assert float(metrics.radial_power_spectrum(torch.full((2, 3, 16, 24), 0.7))[1].max()) < 1e-12


def test_high_frequency_ratio():
    # Where the picture's opposite edges differ, the window keeps the jump out of the high frequencies.
    x = noise(16, 3, 32, 32, scale=0.1)
    ramp = torch.linspace(-0.5, 0.5, 32).expand(16, 3, 32, 32)
    assert metrics.high_frequency_ratio(x, x) == pytest.approx(1.0)
    assert metrics.high_frequency_ratio(0.5 * x, x) == pytest.approx(0.25)
    assert metrics.high_frequency_ratio(x + ramp, x) == pytest.approx(1.0, abs=0.01)
    # A 2×2 box blur has |H|² = cos²(πfx) cos²(πfy); averaged over |f| > 1/4 by hand.
    f = torch.fft.fftfreq(512, dtype=torch.float64)
    gain = (math.pi * f).cos()[:, None] ** 2 * (math.pi * f).cos()[None] ** 2
    expected = float(gain[torch.hypot(f[:, None], f[None]) > 0.25].mean())
    big = noise(8, 3, 65, 65, scale=0.1)
    blurred = torch.nn.functional.avg_pool2d(big, 2, stride=1)
    assert metrics.high_frequency_ratio(blurred, big[..., :64, :64]) == pytest.approx(expected, rel=0.05)


def test_recall_counts_equal_captions_as_right():
    text = torch.eye(4)
    captions = ["a", "b", "c", "d"]
    assert metrics.recall_at_1(torch.eye(4), text, captions) == 1.0
    images = torch.eye(4)[[0, 1, 3, 2]]
    assert metrics.recall_at_1(images, text, captions) == 0.5
    assert metrics.recall_at_1(images, text, ["a", "b", "c", "c"]) == 1.0
    # Only the direction counts: by its dot product alone, the long third caption would win each row.
    leaning = (torch.eye(4) + 0.3) * torch.tensor([[1.0], [1.0], [9.0], [1.0]])
    assert metrics.recall_at_1(torch.eye(4), leaning, captions) == 1.0


class WordByWord:
    """A perfect CLIP: texts embed to the words in them, pictures to the attributes in their first pixels."""

    sizes = [len(values) for values in ATTRIBUTES.values()]

    def embed(self, rows):
        parts = [torch.nn.functional.one_hot(rows[:, i] + 1, k + 1)[:, 1:] for i, k in enumerate(self.sizes)]
        return torch.nn.functional.normalize(torch.cat(parts, 1).float(), dim=1)

    def encode_text(self, texts):
        return self.embed(torch.stack([named(text) for text in texts]))

    def encode_image(self, x):
        return self.embed((x[:, 0, 0, :6] * 10).round().long())


def test_zero_shot_of_a_perfect_clip_is_perfect():
    g = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randint(k, (300,), generator=g) for k in WordByWord.sizes], dim=1)
    rows[rows[:, 2] == 0, 3] = -1
    x = torch.zeros(300, 3, 8, 8)
    x[:, 0, 0, :6] = rows / 10
    assert metrics.zero_shot(WordByWord(), x, rows) == dict.fromkeys(NAMES, 1.0)
    wrong = rows.clone()
    wrong[:150, 0] = (wrong[:150, 0] + 1) % 6
    wrong[:, 3] = -1
    found = metrics.zero_shot(WordByWord(), x, wrong)
    assert found["species"] == 0.5
    assert "accessory_colour" not in found


def test_zero_shot_prompts_name_their_class_in_the_data_sets_words():
    for column, (name, values) in enumerate(ATTRIBUTES.items()):
        for k, value in enumerate(values):
            for text in metrics.zero_shot_prompts(name, value):
                assert int(named(text)[column]) == k, text
                assert unknown_words(text) == []
                assert not any(slip in text for slip in ("a elephant", "a glasses", "a red glasses", "{"))


X = torch.zeros(2, 3, 16, 16)


def squares(x, y):
    return metrics.perceptual_distance(x, y, Squares())


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, squares])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, :1], X[:, :1], r"x: expected pictures of shape \(B, 3, H, W\), got \(2, 1, 16, 16\)"),
        (X[0], X[0], "x: expected pictures"),
        (X, X + 1.5, r"y: expected values in \[-1, 1\], got 1.5"),
        (X, X[:1], r"y: expected the shape of x, \(2, 3, 16, 16\), got \(1, 3, 16, 16\)"),
        ((X * 255).to(torch.uint8), X, "x: expected floats"),
    ],
)
def test_bad_pairs(metric, x, y, message):
    with pytest.raises(ValueError, match=message):
        metric(x, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.frechet_distance(gaussian(4, 3), gaussian(4, 2)), "feats_b: expected 3 features"),
        (lambda: metrics.frechet_distance(gaussian(1, 3), gaussian(4, 3)), "feats_a: expected features"),
        (lambda: metrics.frechet_distance(gaussian(4, 3) / 0, gaussian(4, 3)), "feats_a: expected finite"),
        (lambda: metrics.radial_power_spectrum(X[:0]), "pictures: expected at least one"),
        (lambda: metrics.radial_power_spectrum(X[:, :2]), "pictures: expected pictures"),
        (lambda: metrics.high_frequency_ratio(X, X, above=0.5), "above: got 0.5"),
        (lambda: metrics.high_frequency_ratio(X, X[..., :8]), "fake: expected real's size"),
        (lambda: metrics.recall_at_1(torch.eye(3), torch.eye(3), ["a"]), "image_emb: expected 1 rows"),
        (lambda: metrics.recall_at_1(torch.eye(3), torch.ones(3, 2), list("abc")), "text_emb: expected"),
        (lambda: metrics.zero_shot(WordByWord(), X, torch.zeros(2, 5)), "attributes: expected shape"),
    ],
)
def test_other_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
