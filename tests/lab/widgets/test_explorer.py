"""The CFG explorer without a browser: the newest value wins, the last is always shown, errors leave pictures be."""

import io
import re
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.lab.widgets import explorer as module
from course_utils.lab.widgets.drawing import findings_html
from course_utils.lab.widgets.explorer import CFGExplorer
from course_utils.lab.widgets.explorer_core import SCALES, CFGExplorerCore, CFGRequest, compose
from course_utils.lab.widgets.judged import PANEL, TILE, notes, say_w
from course_utils.lab.widgets.latest import Latest

SECONDS = 60  # after which a test that waits has failed


class FakePipeline:
    """Three steps a picture. `gate`: a step waits for it; `reached`: set when one does."""

    def __init__(self, side=64, grey=0.0):
        self.side, self.grey = side, grey
        self.gate, self.reached = threading.Event(), threading.Event()
        self.gate.set()
        self.started, self.finished, self.strips = [], [], []
        self.inference_mode = []

    def _steps(self, should_stop):
        for _ in range(3):
            self.reached.set()
            assert self.gate.wait(SECONDS)
            if should_stop and should_stop():
                return False
        return True

    def generate(self, prompt, n=4, guidance_scale=3.0, steps=8, sampler="euler", negative="", seed=0,
                 callback=None, should_stop=None):  # fmt: skip
        if "too long" in prompt:
            raise ValueError("texts: 40 tokens came, 22 fit")
        if "broken" in prompt:
            raise RuntimeError("out of memory")
        self.started.append(guidance_scale)
        self.inference_mode.append(torch.is_inference_mode_enabled())
        if not self._steps(should_stop):
            return None
        self.finished.append(guidance_scale)
        return torch.full((n, 3, self.side, self.side), guidance_scale / 15 + self.grey)

    def strip(self, prompt, scales, n=1, steps=8, sampler="euler", negative="", seed=0, should_stop=None):
        if not self._steps(should_stop):
            return None
        self.strips.append(seed)
        return torch.full((len(scales), n, 3, self.side, self.side), self.grey)


class FakeJudge(torch.nn.Linear):
    """Sees a grey cat with a red hat on a plain mint background, everywhere."""

    seen = captions.named("grey cat red hat plain mint")

    def __init__(self):
        super().__init__(1, 1)

    def predict(self, x):
        return self.seen.expand(len(x), -1)


@pytest.fixture
def pipeline():
    return FakePipeline()


@pytest.fixture
def explorer(pipeline):
    made = CFGExplorer(pipeline, FakeJudge())
    yield made
    pipeline.gate.set()
    made.close()


def settle(explorer):
    assert explorer.wait(SECONDS)


def images(explorer):
    """What the page shows of the pictures, both rows."""
    return [
        image.value if image.layout.display != "none" else b"" for row in explorer.pictures for image in row.children
    ]


def strip_of(explorer):
    return [image.value for image in explorer.strip.children]


def size_of(encoded):
    return Image.open(io.BytesIO(encoded)).size


def busy(explorer, pipeline, **change):
    """Ask for something, and return while it is in its first step."""
    pipeline.gate.clear()
    pipeline.reached.clear()
    for name, value in change.items():
        getattr(explorer, name).value = value
    assert pipeline.reached.wait(SECONDS)


# The worker.


def test_latest_drops_what_was_overtaken_and_never_the_last():
    done, gate, begun = [], threading.Event(), threading.Event()

    def work(request):
        begun.set()
        assert gate.wait(SECONDS)
        done.append(request)

    worker = Latest(work)
    worker.submit(0)
    assert begun.wait(SECONDS)
    for request in range(1, 100):
        worker.submit(request)
    assert worker.waiting == 99
    assert not worker.wait(0.01)
    gate.set()
    assert worker.wait(SECONDS)
    assert done == [0, 99]
    worker.close()
    worker.submit(100)
    assert worker.wait(SECONDS)
    assert done == [0, 99]


# Dragging.


def test_a_drag_computes_the_last_value_and_not_those_between(explorer, pipeline, monkeypatch):
    monkeypatch.setattr(module, "FAST", 1e9)
    explorer.refresh()
    settle(explorer)
    busy(explorer, pipeline, w=4.0)
    for i in range(41, 121):
        explorer.w.value = i / 10
    pipeline.gate.set()
    settle(explorer)
    assert pipeline.finished == [3.0, 4.0, 12.0], "a fast picture is shown on the way"
    assert explorer.shown.request.guidance_scale == 12.0
    assert "w = 12 " in explorer.label.value
    assert images(explorer)[:4] == list(explorer.shown.encoded)


def test_a_slow_picture_is_given_up_when_w_moves_on(explorer, pipeline, monkeypatch):
    monkeypatch.setattr(module, "FAST", -1.0)
    monkeypatch.setattr(module, "PATIENCE", 1e9)
    explorer.refresh()
    settle(explorer)
    busy(explorer, pipeline, w=4.0)
    explorer.w.value = 9.5
    pipeline.gate.set()
    settle(explorer)
    assert pipeline.started == [3.0, 4.0, 9.5]
    assert pipeline.finished == [3.0, 9.5]
    assert "w = 9.5" in explorer.label.value


def test_but_not_if_nothing_was_shown_for_long(explorer, pipeline, monkeypatch):
    monkeypatch.setattr(module, "FAST", -1.0)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    busy(explorer, pipeline, w=4.0)
    explorer.w.value = 9.5
    pipeline.gate.set()
    settle(explorer)
    assert pipeline.finished == [4.0, 9.5]


def test_another_prompt_ends_what_is_in_work(explorer, pipeline):
    busy(explorer, pipeline, w=4.0)
    explorer.prompt.value = "a pink cat"
    pipeline.gate.set()
    settle(explorer)
    assert len(pipeline.started) == 2
    assert pipeline.finished == [4.0]
    assert explorer.shown.request.prompt == "a pink cat"


def test_closing_ends_what_is_in_work(explorer, pipeline):
    busy(explorer, pipeline, w=4.0)
    explorer.close()
    pipeline.gate.set()
    explorer._worker._thread.join(SECONDS)
    assert not explorer._worker._thread.is_alive()
    assert pipeline.finished == []


def test_the_same_setting_is_not_computed_twice(explorer, pipeline):
    for _ in range(3):
        explorer.refresh()
        settle(explorer)
    assert pipeline.started == [3.0]
    assert pipeline.inference_mode == [True], "which is a thread's own"


# The strip.


def test_the_strip_follows_everything_but_w_and_the_number(explorer, pipeline):
    explorer.refresh()
    settle(explorer)
    assert pipeline.strips == [0]
    explorer.w.value = 8.0
    settle(explorer)
    explorer.n.value = 8
    settle(explorer)
    assert pipeline.strips == [0]
    explorer.seed.value = 5
    settle(explorer)
    assert pipeline.strips == [0, 5]
    assert [f"w = {w}<br>" in explorer.strip_text.value for w in (0, 1, 3, 8, 15)] == [True] * 5
    assert "at w = 0, 1, 3, 8 and 15" in explorer.strip_title.value
    assert len(strip_of(explorer)) == 5


def test_a_drag_interrupts_the_strip_which_is_made_later(explorer, pipeline):
    explorer.refresh()
    settle(explorer)
    in_strip, go_on, make, given_up = threading.Event(), threading.Event(), pipeline.strip, []

    def strip(*args, **more):
        in_strip.set()
        assert go_on.wait(SECONDS)
        made = make(*args, **more)
        given_up.append(made is None)
        return made

    pipeline.strip = strip
    explorer.seed.value = 1
    assert in_strip.wait(SECONDS)
    explorer.w.value = 7.0
    go_on.set()
    settle(explorer)
    assert given_up == [True, False]
    assert pipeline.strips == [0, 1]
    assert explorer.shown.request.guidance_scale == 7.0


# What is said.


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("a text too long", "40 tokens came, 22 fit"), ("broken", "RuntimeError: out of memory")],
)
def test_an_error_is_shown_and_leaves_the_pictures_as_they_were(explorer, prompt, says):
    explorer.refresh()
    settle(explorer)
    before = (images(explorer), explorer.label.value, explorer.texts[0].value, strip_of(explorer))
    explorer.prompt.value = prompt
    settle(explorer)
    assert says in explorer.status.value
    assert before == (images(explorer), explorer.label.value, explorer.texts[0].value, strip_of(explorer))
    explorer.prompt.value = "a bear"
    settle(explorer)
    assert says not in explorer.status.value
    assert "a bear" in explorer.label.value


def test_unknown_words_are_named_and_rendered_all_the_same(explorer):
    explorer.prompt.value = "a pink <unicorn>"
    settle(explorer)
    assert "the data set has no word &quot;unicorn&quot;; words it knows: bear" in explorer.status.value
    assert "a pink &lt;unicorn&gt;" in explorer.label.value, "a prompt is text, not HTML"
    assert explorer.shown is not None


def test_notes():
    assert notes("a brown bear wearing a red scarf") == ()
    assert notes("", " ", "a hat") == ()
    assert 'no word "wizard" or "dragon"' in notes("a wizard dragon wizard")[0]
    assert "unicorn" in notes("a bear", "a unicorn")[0]
    known = notes("unicorn")[0]
    assert all(v in known for name, values in ATTRIBUTES.items() for v in values if v != "nothing")


def test_labels():
    assert CFGRequest("a brown bear", 3.0).label == "w = 3 · 'a brown bear' · seed 0 · 16 Euler steps"
    assert CFGRequest("", 0.25, "a hat", 1, "ddim", 7, model="yours").label == (
        "w = 0.25 · no prompt (unconditional) · negative 'a hat' · seed 7 · 1 DDIM step · model: yours"
    )


def test_every_text_says_w_in_one_way():
    said = [say_w(w) for w in (-2, -0.5, -0.0, -1e-9, 0.1 + 0.2, 3.0, 15)]
    assert said == ["w = -2", "w = -0.5", "w = 0", "w = 0", "w = 0.3", "w = 3", "w = 15"]


@pytest.mark.parametrize("w", [-2.0, 0.0, 0.5, 1.0, 3.0])
def test_what_w_does_is_what_the_line_does(w):
    """w times the prompt's prediction, and 1 - w times the other one: further, without or against it."""
    for prompt, negative in (("a cat", ""), ("a cat", "a hat"), ("", "a hat")):
        said = CFGRequest(prompt, w, negative).meaning
        shares = ({"the prompt": w} if prompt else {}) | ({"the negative prompt": 1 - w} if negative else {})
        for name, share in shares.items():
            assert (f"away from {name}" in said) == (share < 0), said
            assert (f"{name} has no say" in said) == (share == 0), said
            assert (f"towards {name}" in said) == (share > 1), said
    assert (
        CFGRequest("", w).meaning == CFGRequest(" ").meaning == "no prompt: unconditional, the same picture at every w"
    )


def test_what_w_does_stands_below_the_slider_and_follows_it(explorer):
    assert "guided: towards the prompt" in explorer.meaning.value
    for change, says in (
        ({"w": -2.0}, "away from the prompt<"),
        ({"negative": "a hat"}, "away from the prompt, towards the negative prompt"),
        ({"prompt": ""}, "towards the negative prompt and further"),
        ({"w": 4.0}, "away from the negative prompt"),
    ):
        for name, value in change.items():
            getattr(explorer, name).value = value
        assert says in explorer.meaning.value
    settle(explorer)


def test_it_starts_with_two_words(explorer):
    request = explorer.request
    assert request == CFGRequest()
    assert (captions.named(request.prompt) >= 0).sum() == 1, "most is left open"
    assert (request.steps, SCALES) == (16, (0.0, 1.0, 3.0, 8.0, 15.0))


# Pictures and the judge's opinion.


@pytest.mark.parametrize("side", [32, 64, 128])
def test_pictures_travel_at_their_own_size_and_are_shown_at_one(side):
    made = CFGExplorer(FakePipeline(side), FakeJudge())
    for n, widths in ((8, [f"{TILE}px"] * 8), (4, [f"{TILE}px"] * 4), (1, ["256px"])):
        made.n.value = n
        settle(made)
        assert made.shown.pictures.shape == (n, 3, side, side)
        assert [size_of(encoded) for encoded in made.shown.encoded] == [(side, side)] * n
        assert images(made) == [*made.shown.encoded, *[b""] * (8 - n)]
        shown = [image for row in made.pictures for image in row.children if image.layout.display != "none"]
        assert [image.layout.width for image in shown] == widths
        assert len(made.shown.findings) == n
    assert made.texts[1].value == ""
    assert {size_of(encoded) for encoded in strip_of(made)} == {(side, side)}
    (width,) = {image.layout.width for image in made.strip.children}
    assert 128 <= int(width.removesuffix("px")) <= PANEL // 5
    assert max(Image.open(io.BytesIO(made.static(n=1).data)).size) > 5 * 128
    made.close()


def test_a_picture_that_stays_is_not_sent_again(explorer):
    explorer.refresh()
    settle(explorer)
    sent = []
    explorer.pictures[0].children[0].observe(sent.append, "value")
    explorer.n.value = 8
    settle(explorer)
    assert sent == []
    explorer.w.value = 5.0
    settle(explorer)
    assert len(sent) == 1


def test_ticks_and_crosses(pipeline):
    core = CFGExplorerCore(pipeline, FakeJudge())
    for prompt, expected in (
        ("a grey bear with a hat", ["✗ bear sees cat", "✓ grey", "✓ hat"]),
        ("a bare dog", ["✗ dog sees cat", "✗ nothing sees hat"]),
        ("", ["cat", "grey", "hat", "red", "mint", "plain"]),
    ):
        (picture,) = core.compute(CFGRequest(prompt, n=1)).findings
        assert [
            f.seen if not f.named else f"✓ {f.named}" if f.right else f"✗ {f.named} sees {f.seen}" for f in picture
        ] == expected
        told = re.sub("<[^>]*>", "", findings_html(picture)).replace("&nbsp;", " ")
        assert all(text in told for text in expected)
    encoded, texts = core.strip(CFGRequest("a grey bear"))
    assert texts == [f"w = {w:g}\n1 of 2 right" for w in SCALES]
    assert len(encoded) == len(SCALES)


def test_without_a_judge_nothing_is_judged(pipeline):
    core = CFGExplorerCore(pipeline)
    assert core.compute(CFGRequest("a bear")).findings == ()
    assert core.strip(CFGRequest("a bear"))[1] == [f"w = {w:g}" for w in SCALES]


class Denoiser(torch.nn.Module):
    config = SimpleNamespace(channels=4, side=8)

    def __init__(self):
        super().__init__()
        self.null = torch.nn.Parameter(torch.zeros(5))

    def forward(self, z, t, cond):
        return z * 0.1 + cond.mean(1)[:, None, None, None]


@pytest.fixture
def real():
    """The course's own pipeline around toy models."""
    vae = SimpleNamespace(to_picture=lambda z: z[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).clamp(-1, 1))
    clip = SimpleNamespace(encode_text=lambda texts: torch.ones(len(texts), 5))
    return CFGExplorerCore(TextToPicture(vae, clip, Denoiser(), RectifiedFlow()), FakeJudge())


def test_the_course_s_pipeline_fits(real):
    low, high = (real.compute(CFGRequest("a bear", w, steps=3, n=1)).pictures for w in (0.0, 3.0))
    assert not torch.equal(low, high)
    assert torch.equal(low, real.compute(CFGRequest("a bear", 0.0, steps=3, n=4)).pictures[:1]), "the same noise"
    assert real.compute(CFGRequest("a bear"), should_stop=lambda: True) is None
    assert real.strip(CFGRequest("a bear", steps=2), should_stop=lambda: True) is None
    assert len(real.strip(CFGRequest("a bear", steps=2))[1]) == len(SCALES)


def test_a_scale_may_be_negative(real, explorer, pipeline):
    away, free = (real.compute(CFGRequest("a bear", w, steps=3, n=1)) for w in (-2.0, 0.0))
    assert not torch.equal(away.pictures, free.pictures)
    assert real.strip(CFGRequest("a bear", -2.0, steps=2), (-2.0, 0.0))[1] == [
        "w = -2\n0 of 1 right",
        "w = 0\n0 of 1 right",
    ]
    assert (explorer.w.min, explorer.w.max) == (-2.0, 15.0)
    made = CFGExplorer(pipeline, guidance_scale=-5.0)
    assert (made.request.guidance_scale, made.w.min, made.w.max) == (-5.0, -5.0, 15.0)
    made.close()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"guidance_scale": float("-inf")}, "guidance_scale"),
        ({"steps": 0}, "steps"),
        ({"n": 0}, "n is 0"),
        ({"sampler": "magic"}, "sampler"),
        ({"prompt": None}, "prompt"),
        ({"model": "theirs"}, "model is 'theirs'; expected one of ''"),
    ],
)
def test_bad_settings_are_refused(real, bad, says):
    with pytest.raises(ValueError, match=says):
        real.compute(CFGRequest(**bad))


# Several models.


@pytest.fixture
def two():
    pipelines = {"the course's": FakePipeline(), "yours": FakePipeline(grey=-0.5)}
    made = CFGExplorer(pipelines, FakeJudge())
    yield made
    made.close()


def test_the_reader_changes_between_models_and_all_else_stays(two):
    course, own = two.core.pipelines.values()
    assert two.model in two.children
    two.seed.value, two.w.value = 7, -1.5
    settle(two)
    before, at_first, strip_before = two.request, images(two), strip_of(two)
    two.model.value = "yours"
    settle(two)
    assert two.shown.request == two.request == replace(before, model="yours")
    assert (own.finished, own.strips) == ([-1.5], [7])
    assert images(two) != at_first
    assert strip_of(two) != strip_before
    assert "model: yours" in two.label.value
    drawn = len(course.started)
    two.w.value = 2.0
    settle(two)
    assert (own.finished, len(course.started)) == ([-1.5, 2.0], drawn), "a drag asks the chosen model"
    two.model.value = "the course's"
    settle(two)
    assert course.finished[-1] == 2.0


def test_another_model_ends_what_is_in_work(two):
    course, own = two.core.pipelines.values()
    busy(two, course, w=4.0)
    two.model.value = "yours"
    course.gate.set()
    settle(two)
    assert course.finished == []
    assert own.finished == [4.0]


def test_one_model_needs_no_name_and_no_choice(explorer, pipeline):
    assert explorer.model not in explorer.children
    assert "model" not in explorer.request.label
    with pytest.raises(ValueError, match="pipelines: got none"):
        CFGExplorerCore({})
    with pytest.raises(ValueError, match="model is 'theirs'; expected one of 'a', 'b'"):
        CFGExplorer({"a": pipeline, "b": pipeline}, model="theirs")
    made = CFGExplorer({"a": pipeline, "b": pipeline}, model="b")
    assert made.request.model == "b"
    made.close()


# Words, and what a notebook keeps.


def test_composed_prompts_name_what_they_were_made_of():
    for row in torch.cartesian_prod(*(torch.arange(len(v)) for v in ATTRIBUTES.values()))[::37]:
        values = captions.describe(row)
        if values["accessory"] == "nothing":
            del values["accessory_colour"]
        text = compose(values)
        assert captions.describe(captions.named(text)) == values
        assert captions.unknown_words(text) == []
    assert compose({}) == "a plush"
    assert compose({"species": "elephant"}) == "an elephant"


def test_word_lists_and_prompt_follow_each_other(explorer):
    explorer.prompt.value = "a kitten in a red hat"
    assert explorer.words["species"].value == "cat"
    assert explorer.words["fur"].value == ""
    explorer.words["fur"].value = "blue"
    assert explorer.prompt.value == "a blue cat with a red hat"
    explorer.words["accessory"].value = ""
    assert explorer.prompt.value == "a blue cat"
    assert explorer.words["accessory_colour"].disabled
    settle(explorer)


def test_the_notebook_gets_a_widget_and_the_same_text_always(explorer):
    first = explorer._repr_mimebundle_()
    settle(explorer)
    assert first == explorer._repr_mimebundle_()
    assert first["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    assert "text/html" not in first
    settle(explorer)


def test_the_static_picture_has_a_row_for_each_w(explorer, real):
    explorer.core = real
    image = Image.open(io.BytesIO(explorer.static("a grey bear", (0, 3), n=3).data))
    assert image.format == "JPEG"
    assert image.height == 2 * 128 + 8, "64 pixels, each shown as four"
    assert image.width > 3 * 128


def test_loading_takes_the_course_s_checkpoints(monkeypatch, pipeline):
    from course_utils import checkpoints

    judge = FakeJudge()
    student = FakePipeline()
    monkeypatch.setattr(checkpoints, "load_pipeline", lambda: pipeline)
    monkeypatch.setattr(checkpoints, "load_fast_pipeline", lambda teacher: student if teacher is pipeline else None)
    monkeypatch.setattr(checkpoints, "load", {"judge": judge}.__getitem__)
    made = CFGExplorer(prompt="a bear", guidance_scale=5.0)
    assert (made.core.pipelines, made.core.students) == ({"": pipeline}, {"": student})
    assert made.core.judge is judge
    assert made.request == CFGRequest("a bear", 5.0)
    started = time.monotonic()
    made.close()
    assert time.monotonic() - started < 5
