"""The losses of the lecture, a few lines each.

One convention for all: *sum* over what belongs to one picture, then the caller takes the *mean* over the
batch. A loss that compares pictures with pictures or averages logits is a scalar, and says so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction(x: Tensor, x_hat: Tensor) -> Tensor:
    """½ ‖x − x̂‖², summed over a picture: (B, ...), (B, ...) -> (B,).

    Up to a constant this is −log N(x; x̂, I), so that beside it a KL weight of 1 is the ELBO's
    (Kingma & Welling 2014, eq. 10).
    """
    same_shape(x=x, x_hat=x_hat)
    return 0.5 * (x - x_hat).square().flatten(1).sum(1)


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, diag e^logvar) ‖ N(0, I)) in nats, summed over a latent: (B, ...), (B, ...) -> (B,).

    Kingma & Welling 2014, appendix B.
    """
    same_shape(mean=mean, logvar=logvar)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def contrastive(image_emb: Tensor, text_emb: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy: unit vectors (B, D), (B, D), log of 1/temperature () -> scalar.

    Row i of the similarity matrix must pick text i among all texts, column i picture i among all
    pictures; mean over rows and columns (Radford et al. 2021, figure 3).
    """
    same_shape(image_emb=image_emb, text_emb=text_emb)
    logits = logit_scale.exp() * image_emb @ text_emb.T  # (B pictures, B texts)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Push logits of real patches above 1, of fake ones below −1: any shapes -> scalar, mean over patches.

    Lim & Ye 2017 (arXiv:1705.02894), Miyato et al. 2018. It is 2 as long as every logit is 0.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Push logits of fake patches up: any shape -> scalar, mean over patches (Miyato et al. 2018)."""
    return -fake.mean()


def adaptive_weight(rec_loss: Tensor, adv_loss: Tensor, last_layer: Tensor, largest: float = 1e4) -> Tensor:
    """λ = ‖∇ rec_loss‖ / (‖∇ adv_loss‖ + 10⁻⁶), gradients at the decoder's last weight -> scalar.

    It lets the adversarial loss pull on the decoder as hard as the reconstruction does (VQGAN: Esser et al.
    2021, eq. 7). Clamped to [0, largest], since ‖∇ adv_loss‖ is near 0 while the discriminator knows nothing:
    train that alone for a while first. λ is a number: no gradient flows through it.
    """
    rec_gradient = torch.autograd.grad(rec_loss, last_layer, retain_graph=True)[0]
    adv_gradient = torch.autograd.grad(adv_loss, last_layer, retain_graph=True)[0]
    return (rec_gradient.norm() / (adv_gradient.norm() + 1e-6)).clamp(0, largest).detach()


def same_shape(**pair: Tensor) -> None:
    """Broadcasting would turn a forgotten axis into a wrong number; say it instead."""
    (a, x), (b, y) = pair.items()
    if x.shape != y.shape:
        raise ValueError(f"{a} has shape {tuple(x.shape)} and {b} {tuple(y.shape)}; expected the same")
