"""How the Plushies are drawn: shapes, windows, fur, and that everything a caption names can be seen."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from course_utils.datasets import drawing, fur, shapes
from course_utils.datasets.attributes import ATTRIBUTES, NAMES, sample_attributes
from course_utils.datasets.drawing import CLOTH, FUR, render
from course_utils.datasets.orders import RESOLUTIONS
from course_utils.datasets.scenery import BACKGROUND
from course_utils.datasets.seeds import Draws, uniform
from course_utils.datasets.shapes import Canvas, Frame
from course_utils.images import to_float


def frame(x=0.0, y=0.0, angle=0.0, scale=1.0, flip=1.0, rows=2):
    return Frame(*(torch.full((rows,), v).double() for v in (x, y)), *(
        torch.full((rows,), v, dtype=torch.float64) for v in (torch.tensor(angle).cos(), torch.tensor(angle).sin(), scale, flip)
    ))  # fmt: skip


def every(**fixed):
    """Rows with each value of every attribute named in `fixed` as a list; the rest is the first value."""
    lists = [fixed.get(name, [-1 if name == "accessory_colour" else 0]) for name in NAMES]
    return torch.cartesian_prod(*(torch.tensor(values) for values in lists))


def test_a_frame_carries_what_hangs_on_it():
    hand = frame(0.5, 0.0, scale=2.0).at(0.0, -0.1, turn=torch.pi / 2).at(0.1, 0.0)
    assert hand.x.tolist() == pytest.approx([0.5, 0.5])
    assert hand.y.tolist() == pytest.approx([0.0, 0.0])
    left, right = frame().mirrored().at(0.3, 0.1, 0.4).at(0.2, 0.0), frame().at(0.3, 0.1, 0.4).at(0.2, 0.0)
    assert torch.allclose(left.x, -right.x)
    assert torch.allclose(left.y, right.y)


@pytest.mark.parametrize(
    ("shape", "sizes", "inside", "edge"),
    [
        ("ellipse", {"rx": 0.5, "ry": 0.2}, (0.0, 0.0), (0.0, 0.2)),
        ("ellipse", {"rx": 0.3, "ry": 0.3}, (0.1, 0.1), (0.3, 0.0)),
        ("limb", {"length": 0.6, "start": 0.2, "end": 0.1}, (0.0, 0.3), (0.0, 0.7)),
        ("limb", {"length": -0.6, "start": 0.1, "end": 0.1}, (0.05, -0.3), (0.1, -0.3)),
        ("box", {"rx": 0.4, "ry": 0.2}, (0.3, 0.1), (0.4, 0.0)),
        ("ring", {"rx": 0.4, "ry": 0.4, "width": 0.05}, (0.4, 0.0), (0.45, 0.0)),
    ],
)
def test_distances_are_negative_inside_and_nothing_at_the_edge(shape, sizes, inside, edge):
    def distance(point):
        x, y = (torch.full((1, 1, 1), value) for value in point)
        return float(shapes.SHAPES[shape](x, y, **sizes).distance)

    assert distance(inside) < -0.02
    assert distance(edge) == pytest.approx(0.0, abs=1e-3)
    assert distance((1.0, 1.0)) > 0.2


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_what_is_left_out_of_a_window_would_not_have_been_painted(size, monkeypatch):
    """Parts are painted in windows of the picture, which depend on the batch: what shows must not."""
    a, seeds = sample_attributes(24)
    drawn = render(a, seeds, size)
    monkeypatch.setattr(Canvas, "_window", lambda self, *_: (..., slice(0, self.size), slice(0, self.size)))
    assert torch.equal(render(a, seeds, size), drawn)


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_equal_seeds_give_equal_bytes_in_any_batch_and_order(size):
    a, seeds = sample_attributes(40)
    together = render(a, seeds, size)
    assert together.shape == (40, 3, size, size)
    for i in (0, 7, 39):
        assert torch.equal(render(a[i : i + 1], seeds[i : i + 1], size)[0], together[i])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(render(a[order], seeds[order], size), together[order])


def test_pictures_keep_their_bytes():
    """Checkpoints were trained on these very pictures."""
    a, seeds = sample_attributes(4, "test")
    assert seeds.tolist() == [1736833618, 4146463987, 3568491650, 1443236557]
    sums = {size: render(a, seeds, size).long().sum((1, 2, 3)).tolist() for size in (64, 128)}
    # Other processors round a few bytes otherwise.
    assert sums[64] == pytest.approx([1032518, 2157039, 1848004, 2054016], abs=200)
    assert sums[128] == pytest.approx([4139753, 8630797, 7398832, 8236710], abs=800)


@pytest.mark.parametrize(("size", "small"), [(256, 64), (128, 64), (64, 32), (256, 128)])
def test_a_larger_picture_brought_down_is_the_smaller_one(size, small):
    a, seeds = sample_attributes(12)
    large = avg_pool2d(to_float(render(a, seeds, size)), size // small)
    assert (large - to_float(render(a, seeds, small))).abs().mean() < 0.025


def test_fur_seeds_change_the_fur_and_nothing_else():
    a, seeds = sample_attributes(6)
    assert torch.equal(render(a, seeds, fur_seeds=seeds), render(a, seeds))
    furs = torch.stack([to_float(render(a, seeds, 128, fur_seeds=seeds + k)) for k in range(1, 25)])
    spread = furs.std(0).mean(1)
    assert float(spread[:, :8, :8].max()) == 0
    assert float(spread.amax((1, 2)).min()) > 0.08
    # Brought down, what is left of the differences is small: shapes, light and colours stay.
    coarse = torch.stack([avg_pool2d(x, 16) for x in furs])
    assert float(coarse.std(0).mean()) < 0.01
    # Another fur can't be told from this one: two are as far apart as independent noise.
    fuzzy = spread > 0.05
    residue = (furs - furs.mean(0)).mean(2)
    first, second = (residue[k].masked_select(fuzzy) for k in (0, 1))
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.06


def test_hairs_lie_along_the_flow():
    noise = fur.white_noise(torch.arange(8), 0)
    right = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(8, 2, fur.GRID, fur.GRID)
    hairs = fur.strands(noise, right)
    along, across = (float((hairs * hairs.roll(2, axis)).mean()) for axis in (2, 1))
    assert along > 0.5
    assert abs(across) < 0.05
    assert float(hairs[:, :, :100].std()) == pytest.approx(1.0, abs=0.05)
    assert torch.isfinite(fur.strands(noise, torch.zeros_like(right))).all()


def test_random_numbers_follow_the_seed_one_after_the_other():
    seeds = torch.arange(5)
    draws = Draws(seeds, 3)
    first, second = draws.between(0, 1), draws.between(-2, 2)
    assert torch.equal(first.float(), uniform(seeds, 3, 1)[:, 0])
    assert not torch.equal(first, second / 4 + 0.5)
    assert float(draws.tint().abs().max()) <= 0.05


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("accessory", ATTRIBUTES["accessory"][1:])
def test_what_is_worn_shows_its_colour_on_every_species_and_fur(accessory, size):
    kind = ATTRIBUTES["accessory"].index(accessory)
    worn = every(species=list(range(6)), fur=list(range(6)), accessory=[kind], accessory_colour=list(range(4)))
    bare = worn.clone()
    bare[:, 2:4] = torch.tensor([0, -1])
    seeds = torch.arange(len(worn)) + 50
    x, y = (render(a, seeds, size).float() / 255 for a in (worn, bare))
    changed = (x - y).abs().amax(1) > 0.15
    share = changed.float().mean((1, 2))
    assert float(share.min()) > 0.006, worn[share.argmin()]
    # By its hue, which light and shade leave alone, most of what has changed is nearest to its own colour.
    right = 0
    for row, picture, where in zip(worn, x, changed, strict=True):
        colours = torch.cat([CLOTH, FUR[row[1]][None]])
        hue = (picture / picture.sum(0, keepdim=True).clamp(min=0.1))[:, where].T
        nearest = torch.cdist(hue, colours / colours.sum(1, keepdim=True)).argmin(1)
        right += int(nearest.bincount(minlength=5)[:4].argmax() == row[3])
    assert right >= 0.99 * len(worn)


def test_eyes_stay_visible_behind_glasses():
    """White and black of the eyes: the darkest and the lightest spots of a grey face."""
    glasses = ATTRIBUTES["accessory"].index("glasses")
    worn = every(species=list(range(6)), fur=[3], accessory=[glasses], accessory_colour=list(range(4)))
    bare = worn.clone()
    bare[:, 2:4] = torch.tensor([0, -1])
    seeds = torch.arange(len(worn))
    dark, without = ((render(a, seeds, 128).amax(1) < 60).sum((1, 2)) for a in (worn, bare))
    assert bool((dark >= 0.7 * without).all())


def test_backgrounds_can_be_told_by_their_colour_whatever_the_pattern():
    a = every(background=list(range(5)), pattern=list(range(4))).repeat(10, 1)
    x = render(a, torch.arange(len(a)), 64).float() / 255
    top = x[:, :, :6].mean((2, 3))
    night = a[:, 4] == ATTRIBUTES["background"].index("night")
    assert float(top[night].mean(1).max()) < float(top[~night].mean(1).min()) - 0.05
    hue, hues = (c / c.sum(1, keepdim=True) for c in (top[~night], BACKGROUND))
    assert torch.equal(torch.cdist(hue, hues).argmin(1), a[~night, 4])


def test_patterns_stand_out_and_plain_walls_are_plain():
    a = every(background=list(range(5)), pattern=list(range(4))).repeat(10, 1)
    x = render(a, torch.arange(len(a)), 64).float() / 255
    wall = x[:, :, :5]
    step = (wall[..., 2:] - wall[..., :-2]).abs().amax((1, 2, 3))
    plain = a[:, 5] == 0
    assert float(step[plain].max()) < 0.04
    assert float(step[~plain].min()) > 0.10


@pytest.mark.parametrize("name", [n for n in NAMES if n != "accessory_colour"])
def test_each_attribute_changes_the_picture(name):
    rows = every(**{name: list(range(len(ATTRIBUTES[name])))})
    rows[:, 3] = torch.where(rows[:, 2] > 0, 0, -1)
    pictures = to_float(render(rows, torch.full((len(rows),), 5)))
    for i, x in enumerate(pictures):
        for y in pictures[:i]:
            assert (x - y).abs().mean() > 0.005


def test_what_captions_leave_open_varies():
    row = every().expand(64, -1)
    pictures = to_float(render(row, torch.arange(64), 64))
    assert float(pictures.std(0).mean()) > 0.15


def test_chunks_do_not_show(monkeypatch):
    a, seeds = sample_attributes(30)
    drawn = render(a, seeds)
    monkeypatch.setattr(drawing, "CHUNK", 1)
    assert torch.equal(render(a, seeds), drawn)


def test_the_bytes_do_not_depend_on_the_number_of_threads():
    a, seeds = sample_attributes(80)
    before = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(render(a, seeds))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render(every(), torch.tensor([1]), 65), "size: got 65"),
        (lambda: render(torch.zeros(2, 5), torch.tensor([1, 2])), r"expected a tensor of shape \(N, 6\)"),
        (lambda: render(every() + 9, torch.tensor([1])), "species is 9"),
        (lambda: render(torch.zeros(1, 6).long(), torch.tensor([1])), "accessory_colour must be -1"),
        (lambda: render(every(), torch.tensor([1, 2])), r"seeds: got shape \(2,\)"),
        (lambda: render(every(), torch.tensor([1]), fur_seeds=torch.tensor([1, 2])), r"fur_seeds: got shape \(2,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
