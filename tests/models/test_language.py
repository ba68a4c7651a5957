"""The language model, attention maps, CLIP's tokenizer and the attribute ViT, each against an independent answer."""

import math

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from course_utils.datasets.plushies import Plushies
from course_utils.external.clip_bpe import ClipBPE
from course_utils.external.library_bpe import library_merges
from course_utils.models.attention_maps import attention_maps, rollout
from course_utils.models.classifier import AttributeViT, attribute_loss
from course_utils.models.language import LanguageModel
from course_utils.models.layers import Attention
from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import ConvStem, PatchStem, ViT


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["a brown bear with a red hat", "a cat on a mint background"] * 3, 300, 16)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return LanguageModel(tokenizer, 32, 2, 4).eval()


def test_a_fresh_model_knows_nothing(model, tokenizer):
    tokens = tokenizer(["a brown bear", "a cat"])
    logits = model(tokens)
    assert logits.shape == (2, 16, tokenizer.vocab_size)
    loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss.detach()) == pytest.approx(math.log(tokenizer.vocab_size), abs=0.15)


def test_the_distribution_is_the_softmax_of_the_last_logits(model, tokenizer):
    p = model.next_token("a brown")
    ids = torch.tensor([[tokenizer.start_id, *tokenizer.encode(" a brown")]])
    logits = model(ids)[0, -1].clone()
    logits[[tokenizer.pad_id, tokenizer.start_id]] = -math.inf
    torch.testing.assert_close(p, logits.softmax(0))
    assert float(p.sum()) == pytest.approx(1)


def test_writing_follows_the_distribution(model, tokenizer):
    """A model whose read-out always favours one token writes it until the context is full, or ends at once."""
    hat = tokenizer.encode(" hat")[0]
    with torch.no_grad():
        model.text.norm.weight.zero_()
        model.text.norm.bias.copy_(model.text.token_embedding.weight[hat] * 1e4)
    assert model.write(2, "a", temperature=0) == ["a" + tokenizer.decode([hat]) * 14] * 2
    with torch.no_grad():
        model.text.norm.bias.copy_(model.text.token_embedding.weight[tokenizer.end_id] * 1e4)
    assert model.write(3, "a cat") == ["a cat"] * 3


def test_the_same_seed_writes_the_same(model):
    draws = [model.write(4, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n: got 0"),
        ({"temperature": -1}, "temperature: got -1"),
        ({"start": "q" * 40}, "start: 41 tokens"),
    ],
)
def test_bad_arguments_are_named(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.write(**arguments)


@pytest.mark.parametrize("causal", [False, True])
def test_weights_are_those_of_torchs_own_attention(causal):
    torch.manual_seed(0)
    ours, reference = Attention(32, 4, causal), nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(ours.qkv.weight)
        reference.in_proj_bias.copy_(ours.qkv.bias)
    x = torch.randn(2, 7, 32)
    mask = torch.ones(7, 7).triu(1).bool() if causal else None
    theirs = reference(x, x, x, attn_mask=mask, average_attn_weights=False)[1]
    torch.testing.assert_close(ours.weights(x), theirs, atol=1e-6, rtol=1e-5)


def test_maps_explain_the_forward_pass(tokenizer):
    torch.manual_seed(0)
    text = TextTransformer(tokenizer.vocab_size, 16, 32, 2, 4)
    tokens = tokenizer(["a brown bear", "a cat"])
    maps = attention_maps(text, tokens)
    assert maps.shape == (2, 2, 4, 16, 16)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 4, 16))
    assert float(maps.triu(1).abs().max()) == 0
    first, x = text.blocks[0], text.embed(tokens)
    _, _, v = first.attention.queries_keys_values(first.norm1(x))
    by_hand = first.attention.out((maps[0] @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_hand, first.attention(first.norm1(x)), atol=1e-6, rtol=1e-5)
    vit = ViT(PatchStem(32, 16), 16, 32, 3, 2)
    assert attention_maps(vit, torch.zeros(2, 3, 64, 64)).shape == (3, 2, 2, 17, 17)


def test_rollout_by_hand():
    """Two layers of two tokens, one head: half skip, half attention, later layer on the left."""
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    expected = torch.tensor([[0.75, 0.25], [0.0, 1.0]]) @ torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(rollout(torch.stack([a, b])[:, None, None]), expected[None])
    even = torch.full((3, 2, 4, 5, 5), 0.2)
    torch.testing.assert_close(rollout(even).sum(-1), torch.ones(2, 5))
    with pytest.raises(ValueError, match="maps: expected"):
        rollout(torch.zeros(2, 3, 3))


def test_patch_embedding_equals_torchvisions():
    torch.manual_seed(0)
    theirs, ours = VisionTransformer(64, 8, 1, 2, 32, 64), PatchStem(32, 8)
    with torch.no_grad():
        ours.project.weight.copy_(theirs.conv_proj.weight.flatten(1))
        ours.project.bias.copy_(theirs.conv_proj.bias.normal_())
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(ours(x), theirs._process_input(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("stem", "tokens"), [(PatchStem(32, 8), 64), (ConvStem(32), 16)])
def test_attribute_vit_learns_one_batch(stem, tokens):
    torch.manual_seed(0)
    model = AttributeViT(stem, tokens, 32, 1, 2)
    data = Plushies(8, size=64).in_memory()
    x = data.pictures.float() / 127.5 - 1
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    losses = []
    for _ in range(30):
        loss = attribute_loss(model(x), data.attributes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    found = model.predict(x)
    assert found.shape == (8, 6)
    assert bool(((found[:, 3] == -1) == (found[:, 2] == 0)).all())


def test_the_captions_merges_equal_the_librarys():
    pytest.importorskip("tokenizers")
    source = Plushies(400)
    captions = [source.caption(i, k) for i in range(400) for k in range(2)]
    assert Tokenizer.train(captions, 512).merges == library_merges(captions, 512)


def test_clips_tokenizer_is_open_clips():
    import open_clip

    clip, theirs = ClipBPE(), open_clip.get_tokenizer("ViT-B-32")
    text = "A fluffy Bear, wearing sunglasses!"
    ids = theirs(text)[0].tolist()
    assert clip.encode(text) == ids[1 : 1 + len(clip.encode(text))]
    assert clip.vocab_size == theirs.vocab_size == 49408
    assert clip.decode(clip.encode(text)) == "a fluffy bear , wearing sunglasses ! "
    assert [clip.dropped(t) for t in ("hat", "hat " * 75, "hat " * 80)] == [0, 0, 5]


def test_fewer_merges_mean_more_tokens():
    clip = ClipBPE()
    text = "beginning to get very tired"
    lengths = [len(clip.first(k).encode(text)) for k in (0, 100, 1000, len(clip.merges))]
    assert lengths[0] == len(text.replace(" ", ""))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == len(clip.encode(text)) == 5
    with pytest.raises(ValueError, match="merges: got -1"):
        clip.first(-1)
