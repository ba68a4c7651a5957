"""Prompts for classes, and the sentences that ought to be told apart: what they say, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from course_utils.datasets.attributes import ATTRIBUTES, NAMES, sample_attributes
from course_utils.datasets.captions import named, true_of, unknown_words
from course_utils.datasets.drawing import render
from course_utils.evaluation import zero_shot as z
from course_utils.images import to_float

ROW = torch.tensor([0, 5, 1, 0, 1, 0])  # a blue bear, red hat, plain mint


@pytest.fixture(scope="module")
def rows():
    attributes, _ = sample_attributes(60, "test")
    return z.with_and_without(attributes)[0]


class WordByWord:
    """A perfect CLIP: texts embed to the words in them, pictures to the attributes in their first pixels."""

    sizes = [len(values) for values in ATTRIBUTES.values()]

    def embed(self, rows):
        parts = [F.one_hot(rows[:, i] + 1, k + 1)[:, 1:] for i, k in enumerate(self.sizes)]
        return F.normalize(torch.cat(parts, 1).float(), dim=1)

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
    assert z.zero_shot(WordByWord(), x, rows) == dict.fromkeys(NAMES, 1.0)
    wrong = rows.clone()
    wrong[:150, 0] = (wrong[:150, 0] + 1) % 6
    wrong[:, 3] = -1
    found = z.zero_shot(WordByWord(), x, wrong)
    assert found["species"] == 0.5
    assert "accessory_colour" not in found


def test_zero_shot_prompts_name_their_class_in_the_data_sets_words():
    for column, (name, values) in enumerate(ATTRIBUTES.items()):
        for k, value in enumerate(values):
            for text in z.zero_shot_prompts(name, value):
                assert int(named(text)[column]) == k, text
                assert unknown_words(text) == []
                assert not any(slip in text for slip in ("a elephant", "a glasses", "a red glasses", "{"))


def test_attributes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"attributes: got shape \(2, 5\); expected \(2, 6\)"):
        z.zero_shot(WordByWord(), torch.zeros(2, 3, 16, 16), torch.zeros(2, 5))


def test_confusions_are_counted_pair_by_pair():
    g = torch.Generator().manual_seed(0)
    truth, said = torch.randint(-1, 3, (200,), generator=g), torch.randint(0, 3, (200,), generator=g)
    pairs = list(zip(truth.tolist(), said.tolist(), strict=True))
    assert z.confusions(truth, said, 3).tolist() == [[pairs.count((i, j)) for j in range(3)] for i in range(3)]
    assert z.confusions(truth[:0], said[:0], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("truth", "said"), [([0, 1], [0]), ([0, 3], [0, 1]), ([-2, 0], [0, 1]), ([0, -1], [0, -1])])
def test_confusions_of_what_are_no_kinds_are_refused(truth, said):
    with pytest.raises(ValueError, match="truth, said: "):
        z.confusions(torch.tensor(truth), torch.tensor(said), 3)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_has_equally_many_texts_and_they_name_it(name):
    prompts = z.class_prompts(name)
    assert len(prompts) == len(ATTRIBUTES[name])
    assert len({len(texts) for texts in prompts}) == 1
    for value, texts in enumerate(prompts):
        assert all(int(named(text)[NAMES.index(name)]) == value for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_repeating_leaves_the_mean_of_the_course_s_prompts_as_it_is(name):
    for value, texts in zip(ATTRIBUTES[name], z.class_prompts(name), strict=True):
        once = z.zero_shot_prompts(name, value)
        assert {texts.count(text) / len(texts) for text in once} == {once.count(once[0]) / len(once)}


def test_own_templates_are_filled():
    assert z.class_prompts("species", ["{}", "a {}"])[5] == ["elephant", "an elephant"]
    assert z.class_prompts("accessory", ["a bear with a {}"])[4] == ["a bear with glasses"]
    assert len(z.class_prompts("fur", ["a {} {animal}"])[0]) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("size",), "name: got 'size'"),
        (("fur", ["a bear"]), "templates: got"),
        (("fur", []), "templates: got"),
    ],
)
def test_bad_questions_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        z.class_prompts(*arguments)


def test_colours_are_swapped_and_nothing_else():
    assert z.swapped_colours(ROW) == "a red bear with a blue hat on a plain mint background"
    glasses = torch.tensor([5, 0, 4, 2, 3, 1])
    assert z.swapped_colours(glasses) == "a yellow elephant with brown glasses on a striped night background"


def test_a_lie_changes_the_accessory_s_colour_alone(rows):
    for row in rows:
        told = named(z.other_colour(row))
        column = NAMES.index("accessory_colour")
        assert int(told[column]) != int(row[column])
        told[column] = row[column]
        assert torch.equal(told, row)


def test_shuffled_words_are_the_same_words_in_another_order(rows):
    for row in rows[:10]:
        text, mixed = z.full_caption(row), z.shuffled_words(row)
        assert mixed != text
        assert sorted(mixed.split()) == sorted(text.split())
        assert mixed == z.shuffled_words(row), "a function of the row"


def test_a_plushie_without_accessory_has_no_colours_to_swap():
    with pytest.raises(ValueError, match="expected a plushie that wears something"):
        z.swapped_colours(torch.tensor([0, 0, 0, -1, 0, 0]))


def test_the_share_that_prefers_the_truth():
    vectors = {"yes": [1.0, 0.0], "no": [0.0, 1.0]}

    def encode(texts):
        return torch.tensor([vectors[t] for t in texts])

    half = 0.5**0.5
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [half, half], [0.6, 0.8]])
    share, difference = z.prefers_truth(encode, images, ["yes"] * 4, ["no"] * 4)
    assert share == pytest.approx(1.5 / 4)  # one right, two wrong, one tie
    assert difference == pytest.approx((1 - 1 + 0 - 0.2) / 4, abs=1e-6)
    with pytest.raises(ValueError, match="true, false: got 1 and 1; expected 4 sentences each"):
        z.prefers_truth(encode, images, ["yes"], ["no"])


@pytest.mark.parametrize(("count", "side"), [(1, 64), (2, 64), (3, 64), (4, 64), (2, 128)])
def test_as_many_are_drawn_as_asked_for(count, side):
    pictures = torch.randint(0, 256, (2 * count, 3, side, side), dtype=torch.uint8)
    crowd = z.side_by_side(pictures, count)
    assert crowd.shape == (2, 3, side, side)
    quarters = (
        crowd.unfold(2, side // 2, side // 2).unfold(3, side // 2, side // 2).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    )
    used = quarters.flatten(2).abs().amax(2) > 0
    assert used.sum(1).tolist() == [count, count]
    expected = F.avg_pool2d(pictures[:1].float() / 127.5 - 1, 2)[0]
    torch.testing.assert_close(quarters[0, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shape", "count", "says"),
    [
        ((4, 3, 64, 64), 5, "count"),
        ((3, 3, 64, 64), 2, "pictures"),
        ((4, 3, 33, 33), 2, "pictures"),
        ((4, 3, 32, 64), 2, "pictures"),
    ],
)
def test_crowds_that_cannot_be_drawn_are_refused(shape, count, says):
    with pytest.raises(ValueError, match=f"{says}: got"):
        z.side_by_side(torch.zeros(shape, dtype=torch.uint8), count)


def test_with_and_without_differ_in_the_accessory_alone():
    attributes, _ = sample_attributes(50, "test")
    worn, bare = z.with_and_without(attributes)
    assert len(worn) == int((attributes[:, 2] > 0).sum())
    assert torch.equal(worn[:, [0, 1, 4, 5]], bare[:, [0, 1, 4, 5]])
    assert bool((worn[:, 2] > 0).all())
    assert bare[:, 2:4].unique(dim=0).tolist() == [[0, -1]]


def test_the_seven_tests_say_what_is_true_and_what_is_false_of_their_pictures(rows):
    tests = z.sentence_tests(torch.cat([rows[:7], torch.tensor([[0, 0, 0, -1, 0, 0]])]))  # the last one wears nothing
    assert len(tests) == 7
    drawn = to_float(render(rows[:7], torch.arange(7)))
    for name in ("another colour", "swapped colours", "shuffled words", "“no hat”, has one"):
        assert torch.equal(tests[name][0], drawn), name
        told = torch.stack([named(text) for text in tests[name][1]])
        assert bool(true_of(rows[:7], told).diagonal().all()), name
    wrong = torch.stack([named(text) for text in tests["another colour"][2]])
    assert not bool(true_of(rows[:7], wrong).diagonal().any())
    for name, makes in (("swapped colours", z.swapped_colours), ("shuffled words", z.shuffled_words)):
        assert tests[name][2] == [makes(row) for row in rows[:7]]


def test_no_hat_is_false_of_those_with_one_and_true_of_the_same_plushies_without(rows):
    rows = rows[:4].clone()
    rows[0, [0, 2]] = torch.tensor([5, 4])  # an elephant with glasses
    tests = z.sentence_tests(rows)
    _, has, lacks = tests["“no hat”, has one"]
    pictures, true, false = tests["“no hat”, has none"]
    assert (true, false) == (lacks, has)
    assert [text.replace(" with no ", " with a ").replace("a glasses", "glasses") for text in lacks] == has
    assert not [text for text in has + lacks if "a elephant" in text or "a glasses" in text]
    assert torch.equal(pictures, to_float(render(z.with_and_without(rows)[1], torch.arange(4))))


def test_the_counted_are_bears_two_to_a_picture(rows):
    tests = z.sentence_tests(rows[:5])
    bears = rows[:4].clone()
    bears[:, 0] = 0
    expected = z.side_by_side(render(bears, torch.arange(4)), 2)
    for wrong in ("one", "three"):
        pictures, true, false = tests[f"two bears, not {wrong}"]
        assert torch.equal(pictures, expected)
        assert (true, false) == (["two bears"] * 2, [wrong + (" bear" if wrong == "one" else " bears")] * 2)


def test_a_single_plushie_does_not_make_two_bears():
    with pytest.raises(ValueError, match="attributes: got 1 rows with an accessory; expected 2 or more"):
        z.sentence_tests(ROW[None])
