"""Answers to the exercises of `clip`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from course_utils import losses
from course_utils.evaluation import metrics


def unit(x, dim=-1):
    return x / x.norm(dim=dim, keepdim=True)


def both(s, k):
    logits = k.exp() * s
    own = torch.arange(len(s))
    return F.cross_entropy(logits, own), F.cross_entropy(logits.T, own)


def by_einsum(image_features, text_features):
    return torch.einsum("id,jd->ij", unit(image_features), unit(text_features))


def lengths_afterwards(a, b):
    return a @ b.T / (a.norm(dim=1)[:, None] * b.norm(dim=1)[None])


def loss_by_log_softmax(similarities, logit_scale):
    logits = similarities * torch.exp(logit_scale)
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    return -(rows + columns).mean() / 2


def loss_of_the_course(similarities, logit_scale):
    # Unit vectors are not needed: with the identity as texts, the product is the matrix itself.
    return losses.contrastive(similarities, torch.eye(len(similarities)), logit_scale)


def loss_of_the_library(similarities, logit_scale):
    from open_clip import ClipLoss

    return ClipLoss()(similarities, torch.eye(len(similarities)), logit_scale.exp())


def recall_in_a_loop(similarities, captions):
    right = 0
    for i, row in enumerate(similarities):
        right += captions[int(row.argmax())] == captions[i]
    return right / len(captions)


def recall_of_the_course(similarities, captions):
    # Pictures that are their similarities to texts along the axes; lengths of rows do not change who is nearest.
    return metrics.recall_at_1(similarities, torch.eye(len(captions)), captions)


def cosines(a, b):
    return unit(a) @ unit(b).T


def one_hot(s, k):
    return F.cross_entropy(k.exp() * s, torch.eye(len(s)).long())


def detached_scale(s, k):
    return sum(both(s, k.detach())) / 2


def as_a_number(s, k):
    return torch.tensor((sum(both(s, k)) / 2).item())


def zeros(s):
    return torch.zeros(len(s), dtype=torch.long)


def summed(s, k):
    logits, own = k.exp() * s, torch.arange(len(s))
    return sum(F.cross_entropy(m, own, reduction="sum") for m in (logits, logits.T)) / 2


def share(s, c, dim=1):
    return sum(c[j] == c[i] for i, j in enumerate(s.argmax(dim).tolist())) / len(c)


def copies(tokens):
    return (tokens[:, None] == tokens[None]).all(2) & ~torch.eye(len(tokens), dtype=torch.bool)


def masked(s, k, tokens, fill):
    logits, own = k.exp() * s, torch.arange(len(s))
    logits = logits.masked_fill(copies(tokens), fill)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def masked_in_a_loop(similarities, logit_scale, tokens):
    logits, texts = logit_scale.exp() * similarities, [tuple(row) for row in tokens.tolist()]
    paid = []
    for m in (logits, logits.T):
        for i, text in enumerate(texts):
            heard = [j for j, other in enumerate(texts) if j == i or other != text]
            paid.append(m[i, heard].logsumexp(0) - m[i, i])
    return torch.stack(paid).mean()


def masked_by_subtraction(similarities, logit_scale, tokens):
    logits = logit_scale.exp() * similarities - 1e9 * copies(tokens)
    return -(logits.log_softmax(0) + logits.log_softmax(1)).diagonal().mean() / 2


def only_the_upper_copy(s, k, tokens):
    hidden, own = copies(tokens).tril(), torch.arange(len(s))
    rows = [m.masked_fill(hidden, -math.inf) for m in (k.exp() * s, (k.exp() * s).T)]
    return sum(F.cross_entropy(m, own) for m in rows) / 2


def answers(s, k, bias):
    return F.logsigmoid((2 * torch.eye(len(s)) - 1) * (k.exp() * s + bias))


def sigmoid_by_cross_entropy(similarities, logit_scale, bias):
    logits, truth = logit_scale.exp() * similarities + bias, torch.eye(len(similarities))
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / len(similarities)


def sigmoid_of_the_library(similarities, logit_scale, bias):
    from open_clip.loss import SigLipLoss

    return SigLipLoss()(similarities, torch.eye(len(similarities)), logit_scale.exp(), bias)


RIGHT = {
    "similarity": [
        lambda a, b: F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T,
        by_einsum,
        lengths_afterwards,
        lambda a, b: F.cosine_similarity(a[:, None], b[None], dim=-1),
    ],
    "contrastive_loss": [
        lambda s, k: sum(both(s, k)) / 2,
        loss_by_log_softmax,
        loss_of_the_course,
        loss_of_the_library,
    ],
    "masked_loss": [
        lambda s, k, tokens: masked(s, k, tokens, -math.inf),
        masked_in_a_loop,
        masked_by_subtraction,
    ],
    "sigmoid_loss": [
        lambda s, k, bias: -F.logsigmoid((2 * torch.eye(len(s)) - 1) * (k.exp() * s + bias)).sum() / len(s),
        sigmoid_by_cross_entropy,
        sigmoid_of_the_library,
    ],
    "recall_at_1": [
        recall_in_a_loop,
        recall_of_the_course,
        lambda s, c: torch.tensor(recall_in_a_loop(s, c)),
    ],
}

WRONG = {
    "similarity": [
        (lambda a, b: a @ b.T, "keep their own lengths"),
        (lambda a, b: unit(a, 0) @ unit(b, 0).T, "along the batch"),
        (lambda a, b: unit(a) @ b.T, "only the pictures"),
        (lambda a, b: a @ unit(b).T, "only the texts"),
        (lambda a, b: (a / a.norm()) @ (b / b.norm()).T, "of the whole matrix"),
        (lambda a, b: cosines(b, a), "expected shape (2, 3), got (3, 2)"),
        (lambda a, b: unit(a) @ unit(b), "transpose the second"),
        (lambda a, b: cosines(a, b).softmax(-1), "the loss brings it"),
        (lambda a, b: (a / a.norm(dim=-1)) @ b.T, "keep the axis"),
        (lambda a, b: 2 * cosines(a, b), "one matrix product gives all cosines"),
    ],
    "contrastive_loss": [
        (lambda s, k: both(s, k)[0], "one direction, pictures choosing texts"),
        (lambda s, k: both(s, k)[1], "one direction, texts choosing pictures"),
        (lambda s, k: sum(both(s, k)), "the ½ is missing"),
        (lambda s, k: sum(both(s, 0 * k)) / 2, "the scale is missing"),
        (lambda s, k: sum(both(s, k.log())) / 2, "the *logarithm* of the scale"),
        (lambda s, k: sum(both(s, -k)) / 2, "divided where it must be multiplied"),
        (lambda s, k: -(k.exp() * s).diagonal().mean(), "the diagonal alone"),
        (summed, "summed over the batch"),
        (lambda s, k: F.cross_entropy((k.exp() * s).softmax(1), torch.arange(len(s))), "the softmax itself"),
        (
            lambda s, k: (F.cross_entropy(k.exp() * s, zeros(s)) + F.cross_entropy((k.exp() * s).T, zeros(s))) / 2,
            "choose number 0",
        ),
        (one_hot, "class *numbers*"),
        (detached_scale, "no gradient reaches logit_scale"),
        (as_a_number, "no gradient reaches similarities"),
        (lambda s, k: s.mul_(k.exp()).mean(), "in place"),
    ],
    "masked_loss": [
        (lambda s, k, tokens: sum(both(s, k)) / 2, "nothing was masked"),
        (lambda s, k, tokens: masked(s, k, tokens, 0.0), "still takes part in the softmax"),
        (lambda s, k, tokens: 2 * masked(s, k, tokens, -math.inf), "the ½ is missing"),
        (lambda s, k, tokens: masked(s, 0 * k, tokens, -math.inf), "the scale is missing"),
        (only_the_upper_copy, "the mask is symmetric"),
        (lambda s, k, tokens: masked(s, k, tokens, -math.inf) + 1, "off the diagonal it hides logits"),
        (lambda s, k, tokens: masked(s, k.detach(), tokens, -math.inf), "no gradient reaches logit_scale"),
    ],
    "sigmoid_loss": [
        (lambda s, k, bias: -answers(s, k, bias).mean(), "the mean over B² questions"),
        (lambda s, k, bias: -answers(s, k, bias).sum(), "must be divided by B"),
        (lambda s, k, bias: -answers(s, k, 0 * bias).sum() / len(s), "the bias is missing"),
        (lambda s, k, bias: answers(s, k, bias).sum() / len(s), "*minus* the logarithm"),
        (lambda s, k, bias: -answers(s, k, bias).diagonal().mean(), "the diagonal alone"),
        (lambda s, k, bias: -F.logsigmoid(torch.eye(len(s)) * (k.exp() * s + bias)).sum() / len(s), "not 0"),
        (lambda s, k, bias: -F.logsigmoid(k.exp() * s + bias).sum() / len(s), "off the diagonal the label is −1"),
        (lambda s, k, bias: -answers(s, k, bias.detach()).sum() / len(s), "no gradient reaches bias"),
    ],
    "recall_at_1": [
        (lambda s, c: (s.argmax(1) == torch.arange(len(s))).float().mean(), "two pictures may share a caption"),
        (lambda s, c: share(s, c, dim=0), "down the columns"),
        (lambda s, c: share(s, c) * len(c), "divide by the number of pictures"),
        (lambda s, c: 1 - share(s, c), "the share of wrong ones"),
        (lambda s, c: share(-s, c), "the *least* similar"),
        (lambda s, c: c[s.argmax(1)] == c, "plain integers"),
    ],
}
