"""Measures of redundancy against cases whose answer is known."""

import io

import pytest
import torch
from PIL import Image

from course_utils.evaluation import redundancy


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_noise_knows_nothing_of_its_neighbour_and_a_ramp_everything():
    assert abs(redundancy.neighbour_correlation(noise(4, 3, 64, 64))) < 0.02
    ramp = torch.arange(32.0)[:, None] + torch.arange(32.0)
    assert redundancy.neighbour_correlation(ramp.expand(1, 3, 32, 32)) == pytest.approx(1.0)


def test_correlation_of_an_autoregressive_row_is_its_coefficient():
    """x_i = 0.9 x_{i-1} + noise correlates 0.9 with its neighbour and 0.9³ at distance 3, across; not down."""
    x = torch.zeros(1, 1, 400, 400)
    e = noise(1, 1, 400, 400) * (1 - 0.81) ** 0.5
    x[..., 0] = noise(1, 1, 400, seed=1)
    for i in range(1, 400):
        x[..., i] = 0.9 * x[..., i - 1] + e[..., i]
    assert redundancy.neighbour_correlation(x) == pytest.approx(0.45, abs=0.02)  # the mean of 0.9 and 0
    assert redundancy.neighbour_correlation(x, 3) == pytest.approx(0.729 / 2, abs=0.02)


def test_pca_finds_the_number_of_directions():
    directions = noise(3, 48)
    x = (noise(200, 3, seed=1) @ directions).view(200, 3, 4, 4) + 5.0
    energy = redundancy.pca_energy(x)
    assert energy.shape == (48,)
    assert float(energy.sum()) == pytest.approx(1.0)
    assert float(energy[:3].sum()) == pytest.approx(1.0, abs=1e-9)
    assert float(energy[:2].sum()) < 0.99


def test_pca_energy_is_scikit_learns_ratio():
    rows = noise(50, 12)
    reference = torch.linalg.eigvalsh(torch.cov(rows.double().T)).flip(0)
    torch.testing.assert_close(redundancy.pca_energy(rows.view(50, 3, 2, 2)), reference / reference.sum())


def test_principal_directions_are_the_covariances_eigenvectors():
    x = noise(60, 3, 4, 4) * torch.linspace(0.2, 3, 48).view(3, 4, 4) + 2.0
    mean, directions = redundancy.principal_directions(x, 5)
    rows = x.flatten(1).double()
    torch.testing.assert_close(mean, x.mean(0).flatten())
    torch.testing.assert_close(directions @ directions.T, torch.eye(5), atol=1e-5, rtol=0)
    expected = torch.linalg.eigh(torch.cov(rows.T)).eigenvectors.flip(1)[:, :5].T.float()
    torch.testing.assert_close((directions * expected).sum(1).abs(), torch.ones(5), atol=1e-4, rtol=0)


def test_principal_directions_of_many_more_numbers_than_pictures_rebuild_what_they_were_fitted_to():
    x = noise(40, 3, 32, 32)
    mean, directions = redundancy.principal_directions(x, 39)
    rows = x.flatten(1)
    torch.testing.assert_close(mean + (rows - mean) @ directions.T @ directions, rows, atol=1e-3, rtol=0)


def test_one_cosine_wave_is_one_coefficient_and_noise_is_spread_over_nearly_all():
    n = torch.arange(16.0)
    wave = torch.cos(torch.pi * (n + 0.5) * 3 / 16).expand(16, 16)[None, None] + 7.0
    energy = redundancy.dct_energy(wave)
    assert float(energy[0, 0]) == pytest.approx(1.0)
    spread = redundancy.dct_energy(noise(2, 1, 32, 32))
    torch.testing.assert_close(spread.sum(1), torch.ones(2, dtype=torch.float64))
    assert (spread[:, : 6 * 1024 // 10].sum(1) < 0.99).all()


def test_png_bits_are_the_files_own():
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x[1] = 77
    bits = redundancy.png_bits_per_pixel(x)
    assert float(bits[0]) > 24, "noise cannot be shortened, and the header counts"
    assert float(bits[1]) < 1
    file = io.BytesIO()
    Image.fromarray(x[0].permute(1, 2, 0).numpy()).save(file, "png", optimize=True)
    assert float(bits[0]) == pytest.approx(8 * file.tell() / 1024)


def test_a_grey_picture_has_eight_bits_per_pixel():
    x = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert 8 < float(redundancy.png_bits_per_pixel(x)) < 8.5


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: redundancy.neighbour_correlation(torch.zeros(3, 8, 8)),
            r"x: got \(3, 8, 8\); expected a batch \(N, C, H, W\)",
        ),
        (lambda: redundancy.neighbour_correlation(torch.zeros(1, 3, 8, 8), 8), "distance: got 8"),
        (lambda: redundancy.pca_energy(torch.zeros(1, 3, 8, 8)), "x: got 1; expected two pictures or more"),
        (
            lambda: redundancy.png_bits_per_pixel(torch.zeros(1, 3, 8, 8)),
            "pictures: got torch.float32 .* expected uint8",
        ),
        (
            lambda: redundancy.png_bits_per_pixel(torch.zeros(1, 4, 8, 8, dtype=torch.uint8)),
            r"pictures: got torch.uint8 \(1, 4, 8, 8\)",
        ),
        (lambda: redundancy.principal_directions(torch.zeros(4, 8, 8), 2), "x: got"),
        (lambda: redundancy.principal_directions(torch.zeros(4, 3, 8, 8), 4), "k "),
    ],
)
def test_bad_arguments(call, says):
    with pytest.raises(ValueError, match=says):
        call()
