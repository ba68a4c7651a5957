"""Linear probes find what is linear, miss what is not, and leave out rows without a label."""

import pytest
import torch

from course_utils.evaluation.probe import fit_probe, linear_probe


def clusters(n, seed, spread=0.3):
    """Three classes around the corners of a triangle in 5 dimensions."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=g)
    return torch.eye(5)[labels] + spread * torch.randn(n, 5, generator=g), labels


def test_separated_classes_are_read_off():
    assert linear_probe(*clusters(300, 0), *clusters(300, 1)) > 0.95
    assert linear_probe(*clusters(300, 0, 0.01), *clusters(300, 1, 0.01)) == 1


def test_labels_without_a_trace_in_the_features_stay_at_chance():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 4, generator=g), torch.randint(2, (2000,), generator=g)
    assert linear_probe(x[:1000], y[:1000], x[1000:], y[1000:]) == pytest.approx(0.5, abs=0.06)


def test_exclusive_or_is_not_linear():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(50, 1)
    y = (x.sum(1) == 1).long()
    assert linear_probe(x, y, x, y) <= 0.75
    product = torch.cat([x, x[:, :1] * x[:, 1:]], dim=1)
    assert linear_probe(product, y, product, y) == 1


def test_it_minimises_its_loss():
    """At the minimum of a convex loss the gradient is zero."""
    x, y = clusters(200, 2)
    probe = fit_probe(x, y, l2=0.1, iterations=200)
    weight = probe.weight.clone().requires_grad_()
    z = (x - probe.mean) / probe.std
    loss = torch.nn.functional.cross_entropy(z @ weight.T + probe.bias, y) + 0.05 * weight.square().sum()
    loss.backward()
    assert weight.grad.abs().max() < 1e-4
    assert torch.equal(probe.predict(x), probe.logits(x).argmax(1))


def test_rows_without_a_label_do_not_count():
    x, y = clusters(300, 3)
    more = torch.cat([x, 100 * torch.ones(50, 5)])
    labels = torch.cat([y, torch.full((50,), -1)])
    assert linear_probe(more, labels, more, labels) == linear_probe(x, y, x, y)


def test_works_under_no_grad_and_on_constant_features():
    x, y = clusters(100, 4)
    with torch.no_grad():
        assert linear_probe(x, y, x, y) > 0.9
    flat = torch.ones(100, 3)
    assert linear_probe(flat, y, flat, y) <= (y.bincount().max() / 100) + 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(5)}, "features: got .* expected a float tensor"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels: got .* expected an integer tensor"),
        ({"labels": torch.zeros(5)}, "labels: got .* expected an integer tensor"),
        ({"labels": torch.full((5,), -1)}, "labels: got 0 labelled rows; expected two or more"),
        ({"test_labels": torch.full((5,), -1)}, "test_labels: got no labelled row"),
        ({"test_features": torch.zeros(5, 3)}, "features: got 3 numbers per row; expected 2, as in training"),
    ],
)
def test_bad_input_is_named(change, message):
    x, y = torch.randn(5, 2), torch.tensor([0, 1, 0, 1, 0])
    given = {"features": x, "labels": y, "test_features": x, "test_labels": y} | change
    with pytest.raises(ValueError, match=message):
        linear_probe(**given)
