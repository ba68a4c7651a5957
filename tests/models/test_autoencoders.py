"""VAEs of maps and of vectors: the posterior's closed forms, shapes at every size, latents of unit scale, clear errors."""

import pytest
import torch

from course_utils import losses
from course_utils.datasets.plushies import Plushies
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE, Decoder, DiagonalGaussian, VAEConfig
from course_utils.models.vector_autoencoder import VAESweep, VectorVAE, VectorVAEConfig
from course_utils.training.batches import place
from course_utils.training.loop import fit
from course_utils.training.recipes.vae import vae_part

TINY = VAEConfig(widths=(16, 16, 16))
TINY_VECTOR = VectorVAEConfig(widths=(16, 16, 16, 16), latent=8)


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_posterior_is_a_normal_distribution():
    g = torch.Generator().manual_seed(0)
    posterior = DiagonalGaussian(torch.randn(2, 8, 8, 8, generator=g))
    reference = torch.distributions.Normal(posterior.mean, posterior.std)
    prior = torch.distributions.Normal(0.0, 1.0)
    exact = torch.distributions.kl_divergence(reference, prior).flatten(1).sum(1)
    torch.testing.assert_close(posterior.kl(), exact, rtol=1e-5, atol=1e-4)
    draws = torch.stack([posterior.sample(g) for _ in range(400)])
    assert (draws.mean(0) - posterior.mean).abs().mean() < 0.1
    assert torch.equal(posterior.mode(), posterior.mean)


def test_the_sample_carries_gradients_to_mean_and_variance():
    parameters = torch.zeros(1, 2, 1, 1, requires_grad=True)
    DiagonalGaussian(parameters).sample(torch.Generator().manual_seed(1)).sum().backward()
    eps = torch.randn(1, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(parameters.grad.flatten(), torch.stack([torch.tensor(1.0), 0.5 * eps.squeeze()]))


@pytest.mark.parametrize("side", [8, 64, 128])
def test_a_vae_takes_pictures_of_any_size_that_eight_divides(side):
    vae, x = VAE(TINY).eval(), noise(2, 3, side, side)
    posterior = vae.encode(x)
    assert posterior.mean.shape == posterior.std.shape == (2, *vae.latent_shape(side)) == (2, 4, side // 8, side // 8)
    assert x[0].numel() == 48 * posterior.mean[0].numel()
    assert vae.decode(posterior.mode()).shape == x.shape
    assert vae(x)[0].shape == x.shape


def test_the_courses_vae_makes_latents_of_16_by_16_by_4():
    vae = VAE()
    assert vae.latent_shape(128) == (4, 16, 16)
    assert vae.latent_shape(64) == (4, 8, 8)
    assert vae.encode(noise(1, 3, 128, 128)).mean.shape == (1, 4, 16, 16)


def test_a_vae_takes_pictures_that_are_not_square():
    vae, x = VAE(TINY), noise(1, 3, 64, 32)
    z = vae.encode(x).mode()
    assert z.shape == (1, 4, 8, 4)
    assert vae.decode(z).shape == x.shape


def test_to_latent_and_back():
    vae, x = VAE(TINY), noise(2, 3, 64, 64)
    vae.latent_mean.fill_(0.3)
    vae.latent_std.fill_(2.0)
    z = vae.to_latent(x)
    torch.testing.assert_close(vae.denormalise(z), vae.encode(x).mode())
    assert vae.to_picture(z).abs().max() <= 1
    torch.testing.assert_close(vae.to_picture(z), vae.decode(2 * z + 0.3).clamp(-1, 1))


@pytest.mark.parametrize("model", [lambda: VAE(TINY), lambda: VectorVAE(TINY_VECTOR)])
def test_measured_latents_have_unit_scale(model):
    torch.manual_seed(0)
    vae, x = model(), noise(6, 3, 64, 64)
    vae.latent_std.fill_(9.0)  # what was measured before does not matter
    vae.measure_latents(x)
    z = vae.to_latent(x)
    channels = z.shape[1]
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(channels), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(channels), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 60, 64), "x: expected sides that 8 divides, got 60×64 pixels"),
        ((1, 3, 64, 100), "x: expected sides that 8 divides, got 64×100 pixels"),
        ((1, 3, 4, 4), "x: expected sides that 8 divides, got 4×4 pixels"),
        ((1, 3, 0, 64), "x: expected sides that 8 divides, got 0×64 pixels"),
        ((1, 1, 64, 64), r"x: expected pictures of shape \(B, 3, H, W\), got \(1, 1, 64, 64\)"),
    ],
)
def test_a_vae_names_a_bad_picture(shape, message):
    with pytest.raises(ValueError, match=message):
        VAE(TINY).encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (4, 8, 8), (1, 4, 8, 0), (1, 4)])
def test_a_vae_names_a_bad_latent(shape):
    with pytest.raises(ValueError, match=r"z: expected latents of shape \(B, 4, h, w\), got \("):
        VAE(TINY).decode(torch.zeros(shape))


def test_a_decoder_by_itself_has_the_names_of_the_vae_s():
    """Decoders that were sharpened ship alone and are put into the VAE."""
    vae, decoder = VAE(TINY), Decoder(TINY)
    assert {f"decoder.{name}" for name in decoder.state_dict()} == {
        name for name in vae.state_dict() if name.startswith("decoder.")
    }
    decoder.load_state_dict(vae.decoder.state_dict())
    z = noise(1, 4, 8, 8)
    assert torch.equal(decoder(z), vae.decode(z))
    again = Decoder.from_config(decoder.config_dict())
    assert again.config == TINY
    assert decoder.last_layer is decoder.state_dict(keep_vars=True)[list(decoder.state_dict())[-2]]
    assert decoder.last_layer.shape == (3, 8, 3, 3), "three colours of half the narrowest width"


def test_a_vector_vae_has_one_vector_for_a_picture():
    vae, x = VectorVAE(), noise(2, 3, 64, 64)
    posterior = vae.encode(x)
    assert posterior.mean.shape == (2, *vae.latent_shape(64)) == (2, 64, 1, 1)
    assert posterior.kl().shape == (2,)
    assert vae.decode(posterior.mode()).shape == x.shape
    assert vae(x)[0].shape == x.shape
    assert vae.to_picture(torch.randn(3, *vae.latent_shape(64))).abs().max() <= 1
    again = VectorVAE.from_config(vae.config_dict())
    again.load_state_dict(vae.state_dict())
    assert torch.equal(again.decode(posterior.mode()), vae.decode(posterior.mode()))


def test_every_place_hangs_on_every_number_of_the_vector():
    torch.manual_seed(0)
    vae = VectorVAE(TINY_VECTOR)
    z = torch.randn(1, 8, 1, 1)
    for k in range(8):
        moved = z.clone()
        moved[:, k] += 1
        changed = (vae.decode(moved) - vae.decode(z)).abs().amax(1)
        assert float((changed > 0).float().mean()) > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae: vae.encode(torch.zeros(1, 3, 128, 128)), "x: expected 64×64 pixels, got 128×128"),
        (lambda vae: vae.encode(torch.zeros(1, 3, 64, 128)), "x: expected 64×64 pixels, got 64×128"),
        (lambda vae: vae.encode(torch.full((1, 3, 64, 64), 9.0)), "x: expected values"),
        (
            lambda vae: vae.decode(torch.zeros(1, 8, 2, 2)),
            r"z: expected latents of shape \(B, 8, 1, 1\), got \(1, 8, 2, 2\)",
        ),
        (lambda vae: vae.decode(torch.zeros(1, 8)), r"z: expected latents of shape \(B, 8, 1, 1\), got \(1, 8\)"),
        (
            lambda vae: vae.decode(torch.zeros(8, 1, 1)),
            r"z: expected latents of shape \(B, 8, 1, 1\), got \(8, 1, 1\)",
        ),
    ],
)
def test_a_vector_vae_names_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(VectorVAE(TINY_VECTOR))


def test_a_tiny_vector_vae_learns():
    """Of four pictures: far better than the one picture that is right on average for all of them."""
    torch.manual_seed(0)
    data = Plushies(4, size=64).in_memory()
    model, x = place(VectorVAE(TINY_VECTOR)), to_float(data.pictures)
    fit(vae_part(model, data, 8, kl_weight=0.01, lr=3e-3, ema=0.0), steps=200)
    with torch.no_grad():
        x_hat = model.decode(model.encode(x).mode())
    learnt, guessing = (float(losses.reconstruction(x, y).mean()) for y in (x_hat, x.mean(0).expand_as(x)))
    assert learnt < 0.5 * guessing


def test_a_sweep_gives_members_by_weight_and_says_which_it_has():
    sweep = VAESweep((0.0, 0.5), TINY_VECTOR)
    assert sweep[0.5] is sweep.members[1]
    assert isinstance(sweep.fresh(), VectorVAE)
    assert sweep.fresh().config == TINY_VECTOR
    again = VAESweep.from_config(sweep.config_dict())
    again.load_state_dict(sweep.state_dict())
    assert again.weights == (0.0, 0.5)
    assert again.config == TINY_VECTOR
    with pytest.raises(KeyError, match="got 0.3; the sweep holds 0, 0.5"):
        sweep[0.3]


def test_the_courses_sweep_has_six_weights():
    assert VAESweep(config=TINY_VECTOR).weights == (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": 7}, "weights: got 7"),
        ({"weights": [-1.0]}, "weights: got"),
        ({"weights": [True]}, "weights: got"),
        ({"weights": [0.0] * 65}, "expected up to 64 numbers"),
        ({"widths": [16, 16, 16]}, "widths: got .*; expected 4 integers"),
        ({"latent": 0}, "latent: got 0"),
    ],
)
def test_a_sweep_of_no_sense_is_not_built(changes, message):
    with pytest.raises(ValueError, match=message):
        VAESweep.from_config(VAESweep((0.0,), TINY_VECTOR).config_dict() | changes)
