"""Every check accepts right answers, however written, and meets each wrong one with the hint meant for it."""

import pytest
import torch

from course_utils.lab.exercises import classifier_free_guidance as seven
from course_utils.lab.exercises.checking import Case, Exercise, Mistake, formula


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def mask(cond, p, generator):
    return torch.rand(len(cond), generator=generator) < p


# ---- right answers -----------------------------------------------------------------------------------------


def drop_with_bernoulli(cond, null, p, generator):
    drop = torch.bernoulli(torch.full((len(cond), 1), p), generator=generator).bool()
    return torch.where(drop, null, cond)


def drop_with_index(cond, null, p, generator):
    result = cond.clone()
    result[mask(cond, p, generator)] = null
    return result


def drop_with_arithmetic(cond, null, p, generator):
    keep = (torch.rand(len(cond), 1, generator=generator) >= p).float()
    return keep * cond + (1 - keep) * null


def drop_in_a_loop(cond, null, p, generator):
    return torch.stack([null if torch.rand((), generator=generator) < p else row for row in cond])


RIGHT = [
    (seven.cfg_combine, lambda eps_uncond, eps_cond, w: eps_uncond + w * (eps_cond - eps_uncond)),
    (seven.cfg_combine, lambda eps_uncond, eps_cond, w: (1 - w) * eps_uncond + w * eps_cond),
    (seven.cfg_combine, torch.lerp),
    (seven.drop_condition, drop_with_bernoulli),
    (seven.drop_condition, drop_with_index),
    (seven.drop_condition, drop_with_arithmetic),
    (seven.drop_condition, drop_in_a_loop),
    (seven.cfg_one_plus_w, lambda u, c, w: (1 + w) * c - w * u),
    (seven.cfg_one_plus_w, lambda u, c, w: c + w * (c - u)),
    (seven.cfg_one_plus_w, lambda u, c, w: u + (1 + w) * (c - u)),
    (seven.w_from_w_prime, lambda w_prime: 1 + w_prime),
    (seven.w_from_w_prime, lambda w_prime: torch.tensor(w_prime) + 1),
    (seven.negative_prompt, lambda n, c, w: n + w * (c - n)),
    (seven.negative_prompt, lambda n, c, w: w * c - (w - 1) * n),
    (seven.implicit_score, lambda u, c, s: -(c - u) / s),
    (seven.implicit_score, lambda u, c, s: (u - c) / s),
    (seven.implicit_score, lambda u, c, s: -c / s + u / s),
]
EXERCISES = [v for v in vars(seven).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "function"), RIGHT)
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    # and a check leaves no trace: neither in the global random state, nor in a second call
    before = torch.get_rng_state()
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert torch.equal(before, torch.get_rng_state())


# ---- wrong answers -----------------------------------------------------------------------------------------


def whole_batch(cond, null, p, generator):
    return null.expand_as(cond) if torch.rand((), generator=generator) < p else cond


def per_element(cond, null, p, generator):
    return torch.where(torch.rand(cond.shape, generator=generator) < p, null, cond)


def keep_with_p(cond, null, p, generator):
    return torch.where(mask(cond, p, generator)[:, None], cond, null)


def as_dropout(cond, null, p, generator):
    return torch.nn.functional.dropout(cond, p)


def scaled_rows(cond, null, p, generator):
    return torch.where(mask(cond, p, generator)[:, None], null, cond / (1 - p))


def zeros(cond, null, p, generator):
    return cond * ~mask(cond, p, generator)[:, None]


def added(cond, null, p, generator):
    return cond + mask(cond, p, generator)[:, None] * null


def removed(cond, null, p, generator):
    return cond[~mask(cond, p, generator)]


def other_generator(cond, null, p, generator):
    return torch.where(mask(cond, p, None)[:, None], null, cond)


def reseeded(cond, null, p, generator):
    return torch.where(mask(cond, p, torch.Generator().manual_seed(0))[:, None], null, cond)


def first_rows(cond, null, p, generator):
    return torch.cat([null.expand(int(p * len(cond)), -1), cond[int(p * len(cond)) :]])


def always_a_tenth(cond, null, p, generator):
    return torch.where(mask(cond, 0.1, generator)[:, None], null, cond)


def always_a_fifth(cond, null, p, generator):
    return torch.where(mask(cond, 0.2, generator)[:, None], null, cond)


def detached(cond, null, p, generator):
    return torch.where(mask(cond, p, generator)[:, None], null.detach(), cond)


def unaligned(cond, null, p, generator):
    return torch.where(mask(cond, p, generator), null, cond)


def in_place(cond, null, p, generator):
    cond[mask(cond, p, generator)] = null
    return cond


def unscaled(eps_uncond, eps_cond, w):
    return eps_uncond + (eps_cond - eps_uncond)


def uses_eps_uncond(eps_neg, eps_cond, w):
    return eps_uncond + w * (eps_cond - eps_neg)  # noqa: F821 — the mistake


WRONG = [
    (seven.cfg_combine, lambda u, c, w: u - w * (c - u), "the sign of the difference"),
    (seven.cfg_combine, lambda u, c, w: c + w * (u - c), "swapped: w = 0 must give eps_uncond"),
    (seven.cfg_combine, unscaled, "guidance_scale is missing"),
    (seven.cfg_combine, lambda u, c, w: w * (c - u), "the starting point is missing"),
    (seven.cfg_combine, lambda u, c, w: (1 + w) * c - w * u, "1 + w convention"),
    (seven.cfg_combine, lambda u, c, w: u + w * c, "its *difference* from eps_uncond"),
    (seven.cfg_combine, lambda u, c, w: u + w, "start at eps_uncond and go w times the way"),
    (seven.cfg_combine, lambda u, c, w: torch.cat([u, c]), "expected shape (1, 2, 2, 2), got (2, 2, 2, 2)"),
    (seven.cfg_combine, lambda u, c, w: (u + w * (c - u)).mean(1), "along the wrong axis"),
    (seven.cfg_combine, lambda u, c, w: (u, c), "got a tuple of 2"),
    (seven.cfg_combine, lambda u, c, w: "u + w", "got str"),
    (seven.cfg_combine, lambda u, c, w: (u + w * (c - u)) / 0 * 0, "NaN"),
    (seven.cfg_combine, lambda u, c: u, "TypeError"),
    (seven.cfg_combine, lambda u, c, w: c.sub_(u).mul_(w).add_(u), "in place"),
    (seven.drop_condition, whole_batch, "one draw decided for the whole batch"),
    (seven.drop_condition, per_element, "Draw *one* number a row"),
    (seven.drop_condition, keep_with_p, "p and 1 − p are swapped"),
    (seven.drop_condition, as_dropout, "as nn.Dropout does"),
    (seven.drop_condition, scaled_rows, "as nn.Dropout does"),
    (seven.drop_condition, zeros, "rows became zeros"),
    (seven.drop_condition, added, "a kept row *is* cond"),
    (seven.drop_condition, removed, "replaced, not removed"),
    (seven.drop_condition, other_generator, "draw with the generator that is passed in"),
    (seven.drop_condition, reseeded, "each step needs a fresh draw"),
    (seven.drop_condition, first_rows, "each step needs a fresh draw"),
    (seven.drop_condition, always_a_tenth, "dropped with probability p"),
    (seven.drop_condition, always_a_fifth, "at p = 0 some rows were dropped"),
    (seven.drop_condition, detached, "no gradient reaches null"),
    (seven.drop_condition, unaligned, "mask[:, None] makes it (B, 1)"),
    (seven.drop_condition, in_place, "in place"),
    (seven.drop_condition, lambda cond, null, p, generator: cond, "a share of 0.00"),
    (seven.drop_condition, lambda cond, null, p, generator: 0.5, "got float"),
    (seven.drop_condition, lambda cond, null, p, generator: cond[..., None], "expected shape"),
    (seven.cfg_one_plus_w, lambda u, c, w: (1 + w) * c + w * u, "the sign of the second term"),
    (seven.cfg_one_plus_w, lambda u, c, w: (1 + w) * u - w * c, "swapped"),
    (seven.cfg_one_plus_w, lambda u, c, w: u + w * (c - u), "the lecture's convention"),
    (seven.cfg_one_plus_w, lambda u, c, w: (1 + w) * c - u, "must add up to 1"),
    (seven.cfg_one_plus_w, lambda u, c, w: (1 + w) * (c - u), "only the step"),
    (seven.w_from_w_prime, lambda w: w, "w' = 0 means conditional"),
    (seven.w_from_w_prime, lambda w: w - 1, "the other way round"),
    (seven.w_from_w_prime, lambda w: 1 - w, "more w' is more w"),
    (seven.w_from_w_prime, lambda w: 2 * w, "compare the weights"),
    (seven.negative_prompt, lambda n, c, w: n - w * (c - n), "towards what should be avoided"),
    (seven.negative_prompt, lambda n, c, w: c + w * (n - c), "swapped"),
    (seven.negative_prompt, lambda n, c, w: c - w * n, "subtracted whole"),
    (seven.negative_prompt, lambda n, c, w: c + w * (c - n), "1 + w convention"),
    (seven.negative_prompt, lambda n, c, w: w * (c - n), "starting point"),
    (seven.negative_prompt, uses_eps_uncond, "there is no eps_uncond here"),
    (seven.negative_prompt, lambda n, c, w: 0.3 + w * (c - n), "only eps_neg, eps_cond and w"),
    (seven.implicit_score, lambda u, c, s: (c - u) / s, "the sign"),
    (seven.implicit_score, lambda u, c, s: u - c, "1/σ_t is missing"),
    (seven.implicit_score, lambda u, c, s: c - u, "both the sign and 1/σ_t"),
    (seven.implicit_score, lambda u, c, s: (u - c) * s, "σ_t divides"),
    (seven.implicit_score, lambda u, c, s: (u - c) / s**2, "once is enough"),
    (seven.implicit_score, lambda u, c, s: -c / s, "subtracted from it"),
    (seven.implicit_score, lambda u, c, s: u + c, "Bayes"),
]


@pytest.mark.parametrize(("exercise", "function", "hint"), WRONG)
def test_wrong_answers_get_the_hint_meant_for_them(exercise, function, hint, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is exercise.course
    assert said.startswith(f"✗ {exercise.name}: ")
    assert hint in said
    assert said.endswith("  The notebook goes on with the course's own version.\n")
    assert said == verdict(exercise, function, capsys)[1]  # nbval compares what is printed


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_each_check_rejects_three_wrong_answers_and_more(exercise):
    assert sum(e is exercise for e, _, _ in WRONG) >= 3


# ---- the mechanism -----------------------------------------------------------------------------------------


def gap(eps_uncond, eps_cond, guidance_scale):
    """Combine (B, C, h, w) and (B, C, h, w) -> (B, C, h, w)."""
    ...


def gap_in_the_middle(eps_uncond, eps_cond, guidance_scale):
    difference = ...
    return eps_uncond + guidance_scale * difference


def gap_at_the_end(eps_uncond, eps_cond, guidance_scale):
    difference = eps_cond - eps_uncond
    assert difference is not None
    return ...


def gap_that_raises(eps_uncond, eps_cond, guidance_scale):
    raise NotImplementedError


@pytest.mark.parametrize("function", [gap, gap_in_the_middle, gap_at_the_end, gap_that_raises])
def test_not_attempted_is_one_calm_line(function, capsys):
    result, said = verdict(seven.cfg_combine, function, capsys)
    assert result is seven.cfg_combine.course
    assert said == ("○ cfg_combine: not attempted yet. The notebook goes on with the course's own version.\n")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_exercise_may_be_left_for_later(exercise, capsys):
    assert verdict(exercise, lambda *inputs: ..., capsys)[1].startswith("○")


def forgets_to_return(eps_uncond, eps_cond, w):
    difference = eps_cond - eps_uncond
    eps_uncond + w * difference


def divides_by_zero(eps_uncond, eps_cond, w):
    difference = eps_cond - eps_uncond
    return difference * (1 / 0)


def test_a_missing_return_is_told_from_a_gap(capsys):
    assert "is a `return` missing?" in verdict(seven.cfg_combine, forgets_to_return, capsys)[1]


def test_an_exception_is_named_with_its_line(capsys):
    result, said = verdict(seven.cfg_combine, divides_by_zero, capsys)
    assert result is seven.cfg_combine.course
    assert "it stopped with ZeroDivisionError: division by zero (line 3 of the function)" in said
    # torch, too, says NotImplementedError when a type does not suit an operation: that is no gap.
    said = verdict(seven.cfg_combine, lambda u, c, w: torch.histc(u.long()), capsys)[1]
    assert said.startswith("✗ cfg_combine: it stopped with ")
    said = verdict(seven.cfg_combine, lambda one: one, capsys)[1]
    assert "before its first line: do its arguments match?" in said


def test_what_is_no_function_is_wrong(capsys):
    assert "expected a function, got float" in verdict(seven.cfg_combine, 3.0, capsys)[1]


def test_an_error_in_a_check_itself_is_not_swallowed():
    def broken(attempt):
        raise RuntimeError("the check's own")

    with pytest.raises(RuntimeError, match="the check's own"):
        Exercise("broken", lambda: 0, broken)(lambda: 0)


def test_interrupts_pass_through():
    def interrupted(*inputs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seven.cfg_combine(interrupted)


def test_a_mistake_must_explain_every_case(capsys):
    cases = [Case((x,), torch.tensor(x * x), f"for x = {x:g}") for x in (2.0, 3.0)]
    double = Mistake(lambda x: torch.tensor(2 * x), "squared, not doubled.")
    square = Exercise("square", lambda x: x * x, formula(cases, [double], hint="x times x."))
    # At x = 2 the double is the square, so the message shows x = 3.
    said = verdict(square, lambda x: 2 * x, capsys)[1]
    assert "for x = 3: expected 9, got 6." in said
    assert "squared, not doubled." in said
    assert "x times x." in verdict(square, lambda x: x + 3, capsys)[1]
    assert verdict(square, lambda x: x**2, capsys)[1].startswith("✓")


def test_condition_dropout_works_where_the_condition_lives():
    # "meta" stands for any device but the CPU, where the mask is drawn.
    cond, null = torch.zeros(4, 8, device="meta"), torch.zeros(8, device="meta")
    ours = seven.drop_condition(lambda cond, null, p, generator: ...)
    assert ours(cond, null, 0.5, torch.Generator().manual_seed(0)).device.type == "meta"
