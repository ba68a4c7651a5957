"""Metrics against scikit-image and closed forms."""

import math

import pytest
import torch

from course_utils.datasets.plushies import Plushies
from course_utils.evaluation import degradations, metrics
from course_utils.images import to_float


def noise(*shape, seed=0, scale=0.3):
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)


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


def similarity(a, b):
    """SSIM of two windows of one channel in [0, 1], by its formula (Wang et al. 2004, eq. 13)."""
    c1, c2 = 0.01**2, 0.03**2
    spread = ((a - a.mean()) * (b - b.mean())).sum() / (a.numel() - 1)
    luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    return float(luminance * (2 * spread + c2) / (a.var() + b.var() + c2))


def test_ssim_of_one_window_is_its_formula():
    x, y = noise(2, 3, 7, 7), noise(2, 3, 7, 7, seed=1)
    for i, value in enumerate(metrics.ssim(x, y)):
        expected = [similarity((a.double() + 1) / 2, (b.double() + 1) / 2) for a, b in zip(x[i], y[i], strict=True)]
        assert float(value) == pytest.approx(sum(expected) / 3, abs=1e-6)


def test_ssim_is_the_mean_over_windows():
    x, y = noise(1, 3, 9, 11), noise(1, 3, 9, 11, seed=1)
    windows = [(c, i, j) for c in range(3) for i in range(3) for j in range(5)]
    a, b = ((p[0].double() + 1) / 2 for p in (x, y))
    each = [similarity(*(p[c, i : i + 7, j : j + 7] for p in (a, b))) for c, i, j in windows]
    assert float(metrics.ssim(x, y)) == pytest.approx(sum(each) / len(each), abs=1e-6)


def test_ssim_of_constant_pictures_is_that_of_their_light():
    x, y = (torch.full((1, 3, 16, 16), v) for v in (-0.4, 0.6))  # 0.3 and 0.8 as light
    expected = (2 * 0.3 * 0.8 + 1e-4) / (0.3**2 + 0.8**2 + 1e-4)
    assert float(metrics.ssim(x, y)) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(metrics.ssim(x, x), torch.ones(1))


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


def test_perceptual_distance_grows_with_the_damage():
    data = Plushies(24, "test").in_memory()
    x = to_float(data.pictures)
    assert metrics.perceptual_distance(x, x).tolist() == [0.0] * len(x)
    for change, strengths in ((degradations.blur, (0.5, 1.0, 2.0)), (degradations.shift, (1, 2, 4))):
        distances = [float(metrics.perceptual_distance(x, change(x, s)).mean()) for s in strengths]
        assert 0 < distances[0] < distances[1] < distances[2]
    noisy = [degradations.noise(x, s, torch.Generator().manual_seed(0)) for s in (0.02, 0.05, 0.1)]
    distances = [float(metrics.perceptual_distance(x, y).mean()) for y in noisy]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_perceptual_distance_hardly_sees_other_fur_and_psnr_prefers_none():
    """What LPIPS is for: where the fur lies makes no difference, whether there is fur does."""
    source = Plushies(24, "test")
    x = to_float(source.in_memory().pictures)
    furs = [degradations.texture(source.attributes, source.seeds, fur_seed=k) for k in range(1, 33)]
    other, none = furs[0], torch.stack([x, *furs]).mean(0)
    assert metrics.psnr(x, none).mean() > metrics.psnr(x, other).mean()
    assert metrics.perceptual_distance(x, none).mean() > 2 * metrics.perceptual_distance(x, other).mean()


def test_perceptual_distance_in_chunks_keeps_the_order():
    x = torch.linspace(-1, 1, 300)[:, None, None, None].expand(-1, 3, 8, 8)
    expected = torch.linspace(-1, 1, 300) ** 2
    torch.testing.assert_close(metrics.perceptual_distance(x, torch.zeros_like(x), Squares()), expected)


def test_lpips_diversity_is_the_mean_over_pairs():
    x = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(-1, 3, 8, 8)
    assert metrics.lpips_diversity(x, Squares()) == pytest.approx((0.25 + 0.25 + 1.0) / 3)
    assert metrics.lpips_diversity(x[:1].expand(4, -1, -1, -1), Squares()) == 0.0
    with pytest.raises(ValueError, match="pictures: got 1; expected at least 2 samples"):
        metrics.lpips_diversity(x[:1], Squares())


def test_white_noise_has_flat_power():
    power = metrics.radial_power_spectrum(noise(64, 3, 32, 32, scale=0.2))[1]
    torch.testing.assert_close(power[2:], torch.full_like(power[2:], 0.04), rtol=0.12, atol=0)


def test_latents_have_the_spectrum_that_they_would_have_as_pictures():
    x = noise(16, 3, 16, 16, scale=0.2)
    frequency, power = metrics.radial_power_spectrum(x)
    theirs = metrics.latent_power_spectrum(20 * x)  # beyond the range of pictures
    assert torch.equal(theirs[0], frequency)
    torch.testing.assert_close(theirs[1], 400 * power)
    one = torch.randn(256, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(metrics.latent_power_spectrum(one)[1][1:], torch.ones(3).double(), rtol=0.1, atol=0)


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
        (X, X[:1], r"y: got \(1, 3, 16, 16\); expected the shape of x, \(2, 3, 16, 16\)"),
        ((X * 255).to(torch.uint8), X, "x: expected floats"),
    ],
)
def test_bad_pairs(metric, x, y, message):
    with pytest.raises(ValueError, match=message):
        metric(x, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.radial_power_spectrum(X[:0]), "pictures: got none; expected at least one"),
        (lambda: metrics.radial_power_spectrum(X[:, :2]), "pictures: expected pictures"),
        (lambda: metrics.latent_power_spectrum(X[0]), r"latents: got .*; expected floats of shape \(N, C, h, w\)"),
        (lambda: metrics.latent_power_spectrum(X.long()), "latents: got .*; expected floats"),
        (lambda: metrics.high_frequency_ratio(X, X, above=0.5), "above: got 0.5"),
        (lambda: metrics.high_frequency_ratio(X, X[..., :8]), "fake: got pictures of .* expected real's size"),
        (lambda: metrics.recall_at_1(torch.eye(3), torch.eye(3), ["a"]), r"image_emb: got \(3, 3\); expected 1 rows"),
        (lambda: metrics.recall_at_1(torch.eye(3), torch.ones(3, 2), list("abc")), r"text_emb: got \(3, 2\); expected"),
    ],
)
def test_other_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_spectral_agreement_is_one_for_the_same_waves_and_zero_for_others():
    x, other = noise(64, 3, 16, 16, scale=0.2), noise(64, 3, 16, 16, seed=1, scale=0.2)
    torch.testing.assert_close(metrics.spectral_agreement(x, 0.3 * x), torch.ones(8).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(metrics.spectral_agreement(x, -x), -torch.ones(8).double(), atol=1e-3, rtol=0)
    assert metrics.spectral_agreement(x, other).abs().max() < 0.2
    # Half of the power in common: correlated by one half.
    third = noise(64, 3, 16, 16, seed=2, scale=0.2)
    half = metrics.spectral_agreement((x + other) / 2, (x + third) / 2)
    assert (half - 0.5).abs().max() < 0.15


def test_power_by_wave_keeps_directions_and_has_slow_waves_in_the_middle():
    across = 0.5 * torch.cos(2 * torch.pi * 8 * torch.arange(32) / 32).expand(2, 3, 32, 32)
    power = metrics.power_by_wave(across)
    rows, columns = (power == power.max()).nonzero().T.tolist()
    # A quarter of a cycle per pixel to the right, nothing down: at -0.25 and 0.25 of a row that spans -0.5 to 0.5.
    assert set(rows) == {16}
    assert set(columns) <= {8, 24}
    torch.testing.assert_close(metrics.power_by_wave(across.transpose(2, 3)), power.T)
    # Over all directions it is the radial spectrum: of white noise, its variance.
    white = metrics.power_by_wave(noise(64, 3, 32, 32, scale=0.2))
    assert float(white.mean()) == pytest.approx(0.04, rel=0.03)


def test_fidelity_has_each_number_under_its_name():
    x, y = (to_float(Plushies(4, "test", size=64, seed=k).in_memory().pictures) for k in (0, 1))
    found = metrics.fidelity(x, y)
    assert list(found) == ["PSNR", "course's LPIPS", "fine power"]
    pairs = (4 / (x - y).square().mean((1, 2, 3))).log10() * 10
    assert found["PSNR"] == pytest.approx(float(pairs.mean()), abs=1e-3)
    with torch.no_grad():
        assert found["course's LPIPS"] == pytest.approx(float(metrics.course_lpips()(x, y).mean()), rel=1e-3)
    fine = [metrics.power_by_wave(pictures) for pictures in (y, x)]
    axis = torch.arange(-32, 32) / 64
    high = torch.hypot(axis[:, None], axis) > 0.25
    assert found["fine power"] == pytest.approx(float(fine[0][high].sum() / fine[1][high].sum()), rel=1e-6)
    assert metrics.fidelity(x, 0.5 * x)["fine power"] == pytest.approx(0.25, rel=1e-4)


def test_corners_agree_is_the_correlation_of_the_two_upper_corners():
    pictures = noise(40, 3, 16, 16)
    assert abs(metrics.corners_agree(pictures)) < 0.3
    pictures[..., :4, -4:] = pictures[..., :4, :4].flip(-1)  # the same colours in another order
    assert metrics.corners_agree(pictures) == pytest.approx(1, abs=1e-5)
    pictures[..., :4, -4:] = (0.3 - pictures[..., :4, :4]).clamp(-1, 1)
    assert metrics.corners_agree(pictures) == pytest.approx(-1, abs=0.02)
    # Colours half of which the corners have in common, against torch's own correlation of one channel.
    grey = torch.zeros(200, 3, 16, 16)
    left, right = noise(200, seed=1), noise(200, seed=2)
    grey[..., :4, :4], grey[..., :4, -4:] = left[:, None, None, None], ((left + right) / 2)[:, None, None, None]
    expected = float(torch.corrcoef(torch.stack([left, (left + right) / 2]))[0, 1])
    assert metrics.corners_agree(grey) == pytest.approx(expected, abs=1e-4)
    grey[:, :, 4:] = noise(200, 3, 12, 16, seed=3)  # what is below the corners does not count
    assert metrics.corners_agree(grey) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="pictures: got 1; expected at least 2"):
        metrics.corners_agree(pictures[:1])


def test_mean_correlation_is_over_all_pairs_of_different_numbers():
    a, b = noise(400, seed=1), noise(400, seed=2)
    z = torch.stack([a, -a, b], dim=1)
    across = abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1]))
    assert metrics.mean_correlation(z) == pytest.approx((1 + 2 * across) / 3, abs=1e-5)
    chance = metrics.mean_correlation(torch.randn(400, 64, generator=torch.Generator().manual_seed(0)))
    assert chance == pytest.approx((2 / (torch.pi * 400)) ** 0.5, rel=0.1)
    with pytest.raises(ValueError, match=r"z: got \(400,\); expected \(N, D\)"):
        metrics.mean_correlation(a)


def test_neighbour_correlation_sees_the_number_to_the_right_only():
    z = torch.randn(300, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    assert metrics.neighbour_correlation(z) < 0.1
    pairs = [torch.corrcoef(torch.stack([z[:, c, y, x], z[:, c, y, x + 1]]))[0, 1].abs()
             for c in range(2) for y in range(4) for x in range(5)]  # fmt: skip
    assert metrics.neighbour_correlation(z) == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-5)
    assert metrics.neighbour_correlation(z[:, :, :, :1].expand(-1, -1, -1, 6)) == pytest.approx(1, abs=1e-4)
    assert metrics.neighbour_correlation(z[:, :, :1].expand(-1, -1, 4, -1)) < 0.12, "down is not to the right"
    with pytest.raises(ValueError, match=r"z: got \(300, 2, 4, 1\); expected \(N, C, h, w\)"):
        metrics.neighbour_correlation(z[..., :1])
