"""The networks: shapes, closed forms, equality with torch's reference modules, clear errors."""

import math

import pytest
import torch
from torch import nn

from course_utils.models.autoencoder import VAE
from course_utils.models.classifier import AttributeViT, Judge, JudgeConfig, attribute_loss
from course_utils.models.clip import CLIP, MAX_LOGIT_SCALE
from course_utils.models.denoiser import Denoiser, DenoiserConfig, PictureDenoiser
from course_utils.models.discriminator import PatchDiscriminator
from course_utils.models.layers import Attention, Block, ResBlock, sinusoidal
from course_utils.models.perceptual import DEGRADATIONS, Backbone, degrade, lpips_network
from course_utils.models.text import TextTransformer, last_token
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import PatchStem, patchify, unpatchify

SMALL = DenoiserConfig(width=32, depth=2, heads=2, condition=16)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["a brown bear with a red hat", "a cat on a mint background"] * 3, 300, 16)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 1, 64, 64), r"expected pictures of shape \(B, 3, H, W\), got \(2, 1, 64, 64\)"),
        (torch.full((1, 3, 64, 64), 200.0), r"expected values in \[-1, 1\], got 200"),
        (torch.full((1, 3, 64, 64), float("nan")), r"expected values in \[-1, 1\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "expected floats"),
    ],
)
def test_every_encoder_names_a_bad_picture(bad, message, tokenizer):
    for see in (VAE().encode, Judge(JudgeConfig(8)), CLIP(tokenizer).encode_image):
        with pytest.raises(ValueError, match=message):
            see(bad)


def networks_that_look_at_64_pixels(tokenizer):
    torch.manual_seed(0)
    vit = AttributeViT(PatchStem(16, 8), 64, width=16, depth=1, heads=2)
    return {
        "judge": Judge(JudgeConfig(8)).eval().features,
        "vit": lambda x: vit(x)["fur"],
        "clip": CLIP(tokenizer).eval().encode_image,
    }


@pytest.mark.parametrize("name", ["judge", "vit", "clip"])
def test_larger_pictures_are_seen_averaged_down(name, tokenizer):
    see, large = networks_that_look_at_64_pixels(tokenizer)[name], torch.rand(2, 3, 128, 128) * 2 - 1
    small = nn.functional.avg_pool2d(large, 2)
    assert torch.equal(see(large), see(small))
    with pytest.raises(ValueError, match="x: expected 64×64 pixels or a whole multiple, got 32×32"):
        see(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="x: expected 64×64 pixels or a whole multiple, got 96×96"):
        see(torch.zeros(2, 3, 96, 96))


def test_fresh_blocks_are_the_identity():
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(ResBlock(16)(x), x)


def test_attention_equals_torchs_own():
    ours, reference = Attention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(ours.qkv.weight)
        reference.in_proj_bias.copy_(ours.qkv.bias)
        reference.out_proj.weight.copy_(ours.out.weight)
        reference.out_proj.bias.copy_(ours.out.bias)
    x = torch.randn(2, 7, 32)
    torch.testing.assert_close(ours(x), reference(x, x, x, need_weights=False)[0], atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="3 does not divide width 32"):
        Attention(32, 3)


def test_block_equals_torchs_pre_norm_layer():
    ours = Block(32, 4)
    reference = nn.TransformerEncoderLayer(
        32, 4, 128, dropout=0.0, activation=nn.GELU(), batch_first=True, norm_first=True
    )
    pairs = {
        "self_attn.in_proj_weight": ours.attention.qkv.weight, "self_attn.in_proj_bias": ours.attention.qkv.bias,
        "self_attn.out_proj.weight": ours.attention.out.weight, "self_attn.out_proj.bias": ours.attention.out.bias,
        "linear1.weight": ours.mlp[0].weight, "linear1.bias": ours.mlp[0].bias,
        "linear2.weight": ours.mlp[2].weight, "linear2.bias": ours.mlp[2].bias,
    }  # fmt: skip
    reference.load_state_dict(pairs, strict=False)
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(ours(x), reference(x), atol=1e-5, rtol=1e-5)


def test_text_is_causal_and_the_end_token_is_found_by_its_id(tokenizer):
    text = TextTransformer(tokenizer.vocab_size, 16, 32, 2, 4)
    tokens = tokenizer(["a brown bear", "a cat"])
    changed = tokens.clone()
    changed[:, 3] = tokenizer.encode("hat")[0]
    before, after = text(tokens), text(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])
    states = torch.arange(2 * 16).view(2, 16, 1).float()
    at = (tokens == tokenizer.end_id).int().argmax(1)
    assert torch.equal(last_token(states, tokens, tokenizer.end_id)[:, 0], states[[0, 1], at, 0])
    with pytest.raises(ValueError, match="must hold the end token"):
        last_token(states, torch.full((2, 16), tokenizer.pad_id), tokenizer.end_id)


def test_padding_does_not_change_a_text(tokenizer):
    clip = CLIP(tokenizer).eval()
    tokens = tokenizer("a brown bear")
    junk = tokens.clone()
    junk[tokens == tokenizer.pad_id] = tokenizer.encode("hat")[0]
    torch.testing.assert_close(clip.encode_text(tokens), clip.encode_text(junk))


def test_patchify_is_a_reshape_and_a_convolution(pictures):
    assert torch.equal(unpatchify(patchify(pictures, 8), 8, 3), pictures)
    stem = PatchStem(16, 8)
    conv = nn.functional.conv2d(pictures, stem.project.weight.view(16, 3, 8, 8), stem.project.bias, stride=8)
    torch.testing.assert_close(stem(pictures), conv.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="7 does not divide"):
        patchify(pictures, 7)


def test_clip_embeddings_have_unit_length_and_the_scale_is_clamped(pictures, tokenizer):
    clip = CLIP(tokenizer)
    for e in (clip.encode_image(pictures), clip.encode_text(["a cat", ""])):
        torch.testing.assert_close(e.norm(dim=1), torch.ones(len(e)))
    with torch.no_grad():
        clip.logit_scale.fill_(9.0)
    clip.clamp_scale()
    assert clip.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)
    again = CLIP.from_config(clip.config_dict())
    again.load_state_dict(clip.state_dict())
    torch.testing.assert_close(again.encode_text("a cat"), clip.encode_text("a cat"))


def test_too_long_a_prompt_is_an_error(tokenizer):
    with pytest.raises(ValueError, match="is too long: .* tokens, and 14 fit"):
        CLIP(tokenizer).encode_text("a very " * 40)


def test_time_features_tell_times_apart():
    t = torch.tensor([0.0, 0.001, 0.5, 1.0])
    near, far = sinusoidal(1000 * t, 64), sinusoidal(t, 64)
    assert (near[0] - near[1]).norm() > 0.5
    assert (far[0] - far[1]).norm() < 0.01, "without the factor 1000 the features hardly move"


def test_a_fresh_denoiser_predicts_zero_and_its_loss_has_a_closed_form():
    model = Denoiser(SMALL)
    g = torch.Generator().manual_seed(0)
    z0, eps = torch.randn(512, 4, 8, 8, generator=g), torch.randn(512, 4, 8, 8, generator=g)
    out = model(z0, torch.full((512,), 0.3), model.null.expand(512, -1))
    assert torch.equal(out, torch.zeros_like(out))
    # E‖ε − z₀‖² = 1 + 1 an element for unit latents: the loss of a model that says nothing.
    assert (out - (eps - z0)).square().mean().item() == pytest.approx(2.0, rel=0.02)


def test_a_picture_denoiser_answers_with_the_velocity_that_leads_to_its_guess():
    plain, model = Denoiser(SMALL), PictureDenoiser(SMALL)
    for p in plain.parameters():
        nn.init.normal_(p, std=0.2)
    model.load_state_dict(plain.state_dict())
    z, t = torch.randn(3, 4, 8, 8), torch.tensor([0.01, 0.4, 1.0])
    c = nn.functional.normalize(torch.randn(3, 16), dim=1)
    v = model(z, t, c)
    guess = plain(z, t, c)
    torch.testing.assert_close((z - t[:, None, None, None] * v)[1:], guess[1:])
    torch.testing.assert_close(v[0], (z - guess)[0] / 0.05)  # close to the data the division is held


def test_denoiser_uses_time_and_condition():
    torch.manual_seed(0)
    model = Denoiser(SMALL)
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    z, t, c = (
        torch.randn(2, 4, 8, 8),
        torch.tensor([0.2, 0.7]),
        nn.functional.normalize(torch.randn(2, 16), dim=1),
    )
    base = model(z, t, c)
    assert not torch.allclose(base, model(z, t + 0.1, c), atol=1e-3)
    assert not torch.allclose(base, model(z, t, -c), atol=1e-3)
    torch.testing.assert_close(base[:1], model(z[:1], t[:1], c[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("z", "t", "c", "message"),
    [
        ((2, 3, 8, 8), (2,), (2, 16), "z: expected latents"),
        ((2, 4, 8, 8), (1,), (2, 16), "t: expected one time"),
        ((2, 4, 8, 8), (2,), (2, 15), "condition: expected shape"),
    ],
)
def test_denoiser_names_bad_input(z, t, c, message):
    with pytest.raises(ValueError, match=message):
        Denoiser(SMALL)(torch.zeros(z), torch.zeros(t), torch.zeros(c))


def test_discriminator_sees_patches(pictures):
    critic = PatchDiscriminator(8).eval()
    scores = critic(pictures)
    assert scores.shape == (3, 1, 14, 14)
    changed = pictures.clone()
    changed[:, :, 40:, 40:] = 0
    assert torch.equal(critic(changed)[:, :, 0, 0], scores[:, :, 0, 0]), "a far corner is out of sight"


def test_initial_losses_are_those_of_guessing(pictures):
    judge = Judge(JudgeConfig(8))
    for head in judge.heads.values():
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    rows = torch.tensor([[0, 1, 0, -1, 2, 3], [1, 0, 2, 1, 0, 0], [5, 5, 4, 3, 4, 1]])
    expected = sum(map(math.log, (6, 6, 5, 4, 5, 4))) / 6
    assert attribute_loss(judge(pictures), rows).item() == pytest.approx(expected, rel=1e-5)


def test_judge_gives_no_colour_to_no_accessory(pictures):
    judge = Judge(JudgeConfig(8))
    nn.init.zeros_(judge.heads["accessory"].weight)
    with torch.no_grad():
        judge.heads["accessory"].bias.copy_(torch.tensor([9.0, 0, 0, 0, 0]))
    assert (judge.predict(pictures)[:, 3] == -1).all()
    with torch.no_grad():
        judge.heads["accessory"].bias.copy_(torch.tensor([0.0, 9, 0, 0, 0]))
    assert (judge.predict(pictures)[:, 3] >= 0).all()


def test_degradations_do_what_they_say(pictures):
    g = torch.Generator().manual_seed(0)
    many = pictures[:1].expand(len(DEGRADATIONS), -1, -1, -1)
    out = degrade(many, torch.arange(len(DEGRADATIONS)), g)
    assert torch.equal(out[0], pictures[0])
    assert all((out[i] - pictures[0]).abs().mean() > 0.01 for i in range(1, len(DEGRADATIONS)))
    assert torch.equal(out[5].flatten().sort().values, pictures[0].flatten().sort().values)


def test_lpips_runs_on_the_courses_backbone(pictures):
    backbone = Backbone().eval()
    distance = lpips_network(backbone)
    x = pictures.clone().requires_grad_()
    assert torch.equal(distance(pictures, pictures).flatten(), torch.zeros(3))
    distance(x, -pictures).sum().backward()
    assert x.grad.abs().sum() > 0
    # The first layer by hand: unit-length features, squared differences, mean over places.
    scaled = lambda p: (p - backbone.shift) / backbone.scale  # noqa: E731
    a, b = (nn.functional.relu(backbone.features[0](scaled(p))) for p in (pictures, -pictures))
    a, b = (f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in (a, b))
    by_hand = (a - b).square().sum(1).mean((1, 2))
    layer = distance(pictures, -pictures, retPerLayer=True)[1][0].flatten()
    torch.testing.assert_close(layer, by_hand, rtol=1e-4, atol=1e-6)


def test_positions_of_a_grid_need_a_width_that_four_divides():
    with pytest.raises(ValueError, match="width: got 66; expected a multiple of 4"):
        Denoiser(DenoiserConfig(width=66))
