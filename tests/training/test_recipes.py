"""The parts that the recipes of autoencoders and of the backbone are made of."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_utils import losses
from course_utils.datasets.plushies import Plushies
from course_utils.images import looked_at
from course_utils.models.autoencoder import VAE, VAEConfig
from course_utils.training.batches import draw, draw_crops
from course_utils.training.budget import Budget
from course_utils.training.loop import fit
from course_utils.training.recipes.backbone import backbone
from course_utils.training.recipes.decoders import decoder_parts
from course_utils.training.recipes.vae import decoder_part, vae, vae_part

TINY = VAEConfig(widths=(16, 16, 16))


@pytest.fixture(scope="module")
def data():
    return Plushies(32, size=64).in_memory()


def tiny_vae():
    torch.manual_seed(0)
    return VAE(TINY)


def weights(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_vae_part_is_the_sum_of_its_two_terms(data):
    model = tiny_vae()
    value, logs = vae_part(model, data, 8, kl_weight=0.5).loss(torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(1)
    x, _ = draw(data, 8, g)
    posterior = torch.distributions.Normal(*(lambda q: (q.mean, q.std))(model.encode(x)))
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1)).sum((1, 2, 3)).mean()
    z = posterior.mean + posterior.stddev * torch.randn(posterior.mean.shape, generator=g)
    squared = 0.5 * (x - model.decode(z)).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(value * x[0].numel(), squared + 0.5 * kl, rtol=1e-4, atol=1e-3)
    assert float(logs["kl"]) == pytest.approx(float(kl.detach()), rel=1e-4)


def test_kl_weight_zero_is_a_plain_autoencoder(data):
    model = tiny_vae()
    value, _ = vae_part(model, data, 8, kl_weight=0.0).loss(torch.Generator().manual_seed(1))
    x, _ = draw(data, 8, torch.Generator().manual_seed(1))
    expected = losses.reconstruction(x, model.decode(model.encode(x).mode())).mean() / x[0].numel()
    torch.testing.assert_close(value, expected)


def test_vae_part_takes_its_batches_from_whoever_draws_them():
    large, model = Plushies(8).in_memory(), tiny_vae()
    value, _ = vae_part(model, large, 8, kl_weight=0.0, drawn=draw_crops).loss(torch.Generator().manual_seed(1))
    x, _ = draw_crops(large, 8, torch.Generator().manual_seed(1))
    expected = losses.reconstruction(x, model.decode(model.encode(x).mode())).mean() / (3 * 64 * 64)
    torch.testing.assert_close(value, expected)


def test_the_decoder_alone_leaves_latents_as_they_are(data):
    model = tiny_vae()
    encoder, decoder = weights(model.encoder), weights(model.decoder)
    part = decoder_part(model, data, 8)
    before = part.loss(torch.Generator().manual_seed(1))[0].item()
    fit(part, steps=60)
    assert torch.equal(weights(model.encoder), encoder)
    assert not torch.equal(weights(model.decoder), decoder)
    assert part.loss(torch.Generator().manual_seed(1))[0].item() < 0.8 * before


def test_the_decoder_alone_learns_from_means_of_posteriors(data):
    model = tiny_vae()
    value, _ = decoder_part(model, data, 8).loss(torch.Generator().manual_seed(1))
    x, _ = draw_crops(data, 8, torch.Generator().manual_seed(1))
    expected = losses.reconstruction(x, model.decode(model.encode(x).mode())).mean() / x[0].numel()
    torch.testing.assert_close(value, expected)


def test_the_vae_trains_both_halves_and_then_its_decoder(monkeypatch):
    trained = []
    monkeypatch.setattr(Budget, "fit", lambda budget, part, seed: trained.append((budget.state, part.module)))
    model, _ = vae(Budget(8, 2, 4, 2, state=Path("kept")))
    assert trained == [(Path("kept/both"), model), (Path("kept/decoder"), model.decoder)]


def test_the_backbone_is_asked_for_attributes_of_whole_pictures_only(monkeypatch):
    """A crop need not show the ears or the hat."""
    seen, own = [], backbone.__globals__

    def drawn(*given, **how):
        seen.append(draw_crops(*given, **how))
        return seen[-1]

    def asked(logits, attributes):
        seen.append((logits, attributes))
        return attribute_loss(logits, attributes)

    attribute_loss, parts = own["attribute_loss"], []
    monkeypatch.setitem(own, "draw_crops", drawn)
    monkeypatch.setitem(own, "attribute_loss", asked)
    backbone(SimpleNamespace(pictures=12, batch=6, held_out=4, fit=lambda part, seed: parts.append(part)))
    parts[0].loss(torch.Generator().manual_seed(2))[0].backward()

    (x, index), (logits, rows) = seen
    data = Plushies(12).in_memory()
    assert torch.equal(x[:3], looked_at(data.pictures[index[:3]].float() / 127.5 - 1, 64))
    assert torch.equal(rows, data.attributes[index[:3]])
    assert "degradation" not in logits
    assert all(len(answers) == 3 for answers in logits.values())


@pytest.mark.parametrize(
    ("perceptual", "adversarial", "parts", "logged"),
    [
        (0.0, 0.0, 1, {"l1"}),
        (0.3, 0.0, 1, {"l1", "lpips"}),
        (0.0, 1.0, 2, {"l1", "weight"}),
        (0.3, 1.0, 2, {"l1", "lpips", "weight"}),
    ],
)
def test_decoder_parts_hold_what_is_weighted(data, perceptual, adversarial, parts, logged):
    model = tiny_vae()
    found = decoder_parts(model, data, 4, perceptual=perceptual, adversarial=adversarial, delay=1)
    assert len(found) == parts
    encoder, decoder = map(weights, (model.encoder, model.decoder))
    history = fit(found, steps=2, log_every=1)
    assert logged <= set(history.values)
    assert torch.equal(weights(model.encoder), encoder)
    assert not torch.equal(weights(model.decoder), decoder)


def test_the_decoder_waits_for_its_discriminator(data):
    model = tiny_vae()
    critic, decoder = decoder_parts(model, data, 4, perceptual=0.0, adversarial=1.0, delay=2)
    before, critic_before = weights(model.decoder), weights(critic.module)
    decoder.ema = 0.0
    fit([critic, decoder], steps=2)
    assert torch.equal(weights(model.decoder), before)
    assert not torch.equal(weights(critic.module), critic_before)


def test_a_gan_that_stops_and_goes_on_ends_where_an_unbroken_one_does(data, tmp_path):
    def parts():
        torch.manual_seed(0)
        model = VAE(TINY)
        return model, decoder_parts(model, data, 4, perceptual=0.0, adversarial=1.0, delay=1)

    unbroken, both = parts()
    fit(both, steps=6)
    state = tmp_path / "gan"

    def interrupt(step, steps, logs, preview=None):
        if step == 5:
            raise KeyboardInterrupt

    _, both = parts()
    with pytest.raises(KeyboardInterrupt):
        fit(both, steps=6, state=state, save_every=3, log_every=1, progress=interrupt)
    resumed, both = parts()
    fit(both, steps=6, state=state, save_every=3)
    assert torch.equal(weights(resumed.decoder), weights(unbroken.decoder))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_two_parts_of_a_gan_need_no_order(data, order):
    """Each draws its own batch, so that neither sees what the other has left behind."""
    critic, decoder = parts = decoder_parts(tiny_vae(), data, 4, perceptual=0.0, adversarial=1.0, delay=0)
    critic.module.eval()  # a training step of spectral normalisation changes the critic
    values = {}
    for i in order:
        values[i] = parts[i].loss(torch.Generator().manual_seed(i))[0].detach()
    again = {i: parts[i].loss(torch.Generator().manual_seed(i))[0].detach() for i in (0, 1)}
    assert values == again
    critic.loss(torch.Generator())[0].backward()
    assert all(p.grad is None for p in decoder.module.parameters())
