# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Pixels against latents
#
# *A picture is a long list of numbers, most of which tell you what you know already. Here you measure how much is news,
# squeeze a picture into 48 times fewer numbers, and find out what that saves, and what it does not give you.*
#
# **After this notebook you can**
#
# - measure the redundancy of pictures in four ways, and say what each measures;
# - show that random points, midpoints and nearest neighbours mean little in pixel space;
# - train an autoencoder, and say which of three wishes its latent space grants;
# - predict the cost of a denoising step from the number of tokens, and check it on your machine.
#
# | | 2-core laptop | one GPU |
# |---|---|---|
# | Run All | under 5 minutes | about 3 minutes |
# | of which live training | about 2 minutes | about 2 minutes |
# | your own time, with the exercises | 60 minutes | the same |
#
# You need notebook 00: the Plushies, pictures in [−1, 1], t = 0 for data and t = 1 for noise. Everything runs without a network.

# %%
from course_utils import runtime
print(runtime.setup(seed=0))

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from course_utils.datasets.photos import NAMES, photo
from course_utils.datasets.plushies import Plushies
from course_utils.images import to_float
from course_utils.evaluation import cost, redundancy
from course_utils.evaluation.kernel import StandardFeatures, kernel_distance
from course_utils.evaluation.metrics import psnr
from course_utils.lab.exercises import latents as check
from course_utils.lab import plots
from course_utils.checkpoints import load

plots.style()
size, device = runtime.sizes(), runtime.device()

# %% [markdown]
# ## 1 · Three wishes
#
# We want to *generate* pictures: learn from many where pictures lie in their space, and draw a new point there. What would a good space for this be like? Three wishes:
#
# - **tractable**: one step of work on a point is cheap;
# - **compact**: few numbers, and each of them tells something;
# - **meaningful**: nearby points are alike, the way between two pictures leads over pictures, and a random point is a picture.
#
# A photograph of 1024×1024 pixels has 1024 · 1024 · 3 ≈ 3 million numbers. Let us put pixels to the test, wish by wish, and then a space with fewer numbers. At the end
# stands a table with a measurement in each field.
#
# ## 2 · Compact? What your neighbour knows
#
# Here are two photographs, a texture, a plushie, and noise.

# %%
photos = {name: photo(name, 256) for name in NAMES}
plushies = Plushies(2000 if size.pictures > 2000 else size.pictures, "test").in_memory()
large = Plushies(8, "test", size=256)
plush = torch.stack([((large[i]["picture"] + 1) * 127.5).round().to(torch.uint8) for i in range(8)])
noise = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8, generator=runtime.generator(0))
shown = torch.stack([photos["astronaut"], photos["chelsea"], photos["grass"], plush[0], noise[0]])
plots.show(plots.to_jpeg(plots.tile(shown, columns=5, scale=0.7, captions=["astronaut", "cat", "grass", "plushie", "noise"])))

# %% [markdown]
# If you cover one pixel, can you guess it from the pixel beside it? The *correlation* of neighbours says how well: 1 if one tells the other, 0 if it says nothing about it.

# %% [markdown]
# ### Exercise 1 · Neighbours (medium, 10 minutes)
#
# Take all pairs of a number and the number to its right, and return their Pearson correlation: the mean product of both after each was brought to mean 0 and standard deviation 1.

# %%
def neighbours(x):
    """Pictures (N, C, H, W) → one number in [-1, 1]: how each number correlates with its right-hand neighbour."""
    ...

neighbours = check.neighbours(neighbours)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x[..., :-1]` holds every number that has a right-hand neighbour, `x[..., 1:]` the neighbours. `torch.corrcoef` takes two rows.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def neighbours(x):
#     a, b = x[..., :-1].flatten(), x[..., 1:].flatten()
#     return torch.corrcoef(torch.stack([a, b]))[0, 1]
# ```
# </details>

# %%
kinds = {"photographs": torch.stack([photos[n] for n in ("astronaut", "chelsea", "coffee", "rocket")]),
         "textures": torch.stack([photos[n] for n in ("grass", "gravel", "brick")]), "plushies": plush, "noise": noise}
distances = [1, 2, 4, 8, 16, 32, 64]
across = {name: float(neighbours(x.double())) for name, x in kinds.items()}
far = {name: [redundancy.neighbour_correlation(x.float(), d) for d in distances] for name, x in kinds.items()}
ax = plots.curves(distances, far, "pixels apart", "correlation", "how far a pixel knows its surroundings")
ax.set_xscale("log", base=2)
plt.show()
display(Markdown("Right-hand neighbours correlate by " + ", ".join(f"**{v:.2f}** in {name}" for name, v in across.items()) + "."))

# %% [markdown]
# In photographs a pixel nearly tells its neighbour, and still knows something of one 32 pixels away. Textures forget within a few pixels, and noise knows nothing. So
# *three million numbers* is a bad measure of how much a photograph tells. Three better ones:
#
# - **PNG**: how many bits a pixel does a lossless file need? Raw it is 24.
# - **Cosine waves** (DCT, what JPEG uses): write a picture as a sum of waves. How many of the largest hold 99 % of its energy?
# - **Principal components** (PCA): in which directions do many pictures differ from their mean, and how many directions hold 99 % of the variance?

# %% [markdown]
# ### Exercise 2 · How many are needed? (easy, 5 minutes)
#
# The last two ask the same question of a list of energies. Take the largest first until you have the share.

# %%
def needed(energy, share):
    """energy (D,) ≥ 0 in any order → how many of the largest together hold at least `share` of the whole."""
    ...

needed = check.needed(needed)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `energy.sort(descending=True).values.cumsum(0)`, divided by the sum. Count those below the share, and one more.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def needed(energy, share):
#     kept = energy.sort(descending=True).values.cumsum(0) / energy.sum()
#     return int((kept < share).sum()) + 1
# ```
# </details>

# %%
def share_of_waves(x):
    """Mean over pictures of the share of cosine waves that hold 99 % of a picture's energy."""
    energies = redundancy.dct_energy(x)
    return sum(needed(e, 0.99) for e in energies) / energies.numel()


lines = ["| | bits a pixel as PNG | cosine waves for 99 % |", "|---|---|---|"]
for name, x in kinds.items():
    lines.append(f"| {name} | {redundancy.png_bits_per_pixel(x).mean():.1f} of 24 | {share_of_waves(x):.1%} |")
display(Markdown("\n".join(lines)))

pixels = to_float(plushies.pictures)                                              # (N, 3, 64, 64)
components = redundancy.pca_energy(pixels[:1000])
white = redundancy.pca_energy(torch.randn(len(pixels[:1000]), 3, 64, 64, generator=runtime.generator(1)))
pca_pixels = needed(components, 0.99)
kept = {"plushies, 64×64": components.cumsum(0), "noise": white.cumsum(0)}
ax = plots.curves(range(1, len(components) + 1), kept, "principal components", "share of variance", "PCA", markers=False)
ax.axhline(0.99, c=plots.FAINT, lw=1, ls=":")
plt.show()
display(Markdown(f"Of 12,288 directions, **{pca_pixels}** hold 99 % of the variance of {len(components):,} plushies; 10 hold {float(components[:10].sum()):.0%}."))

# %% [markdown]
# Photographs and plushies need a fifth of the waves; noise needs most of them, and its file is *longer* than raw. For the plushies, ten directions
# carry nearly three quarters of the variance (grounds and fur colours), and a long tail holds the rest. (The curve ends where it does since a thousand pictures cannot show more than a thousand directions.)
#
# So pixels are not compact. There is room for a space with far fewer numbers.
#
# ## 3 · Meaningful? A random point, a midpoint, a neighbour
#
# Three experiments in pixel space. First, a random point: each number of a plushie drawn anew, with that number's own mean and standard deviation over the data. Second, the mean of two pictures.
# Third, the nearest neighbour by squared error, among all pictures of the split.

# %%
def nearest(points, query):
    """Index of the nearest of points (N, D) to each row of query (Q, D), itself left out (distance 0)."""
    d = torch.cdist(query.flatten(1), points.flatten(1))
    return d.masked_fill(d < 1e-3, torch.inf).argmin(1)


few = pixels[:6]
random_pixels = pixels.mean(0) + pixels.std(0) * torch.randn(6, 3, 64, 64, generator=runtime.generator(2))
rows = {
    "pictures": few, "random point": random_pixels, "half and half": (few + pixels[6:12]) / 2,
    "nearest": pixels[nearest(pixels, few)],
}
plots.show(plots.to_jpeg(plots.labelled_rows(rows, scale=1.5)))


def agree(points, *columns):
    """How often the nearest neighbour of one of the first 500 points has the same values in all these attributes."""
    a, b = plushies.attributes[nearest(points, points[:500])], plushies.attributes[:500]
    return float((a == b)[:, columns].all(1).float().mean())


ground, agree_pixels = agree(pixels, 4), agree(pixels, 0, 2)  # columns: 0 species, 2 accessory, 4 background
display(Markdown(f"The nearest picture has the same ground in {ground:.0%} of cases, and the same species *and* accessory in **{agree_pixels:.0%}**."))

# %% [markdown]
# - A **random point** is coloured snow, always: pictures are so rare among points that no draw will ever hit one.
# - **Half and half** is a ghost: two animals at once, each transparent. No plushie looks like this, so the straight way between two pictures leaves the pictures at once.
# - The **nearest** picture has the same ground, which covers most of the area, and fur of the same colour. About the animal it is often wrong: in the figure a white
#   bear finds a white cat, and a blue bear with a hat a blue mouse with a hat. Near means *much paint in the same places*.
#
# Not meaningful either. And tractable? That comes in section 6. First, a better space.
#
# ## 4 · An autoencoder
#
# An *encoder* E turns a picture x into a latent z = E(x) with far fewer numbers, a *decoder* D turns it into a reconstruction x̂ = D(z). Both are convolutional networks, trained together to make
#
# $$\tfrac12\,\lVert x - D(E(x)) \rVert^2$$
#
# small on average. Nobody says what z should mean. Three steps of stride 2 shorten height and width by f = 8, and z gets 4 channels.

# %% [markdown]
# ### Exercise 3 · What a latent saves (easy, 5 minutes)

# %%
def savings(height, width, factor, channels):
    """How many times fewer numbers the latent of a colour picture has (factor: f in each direction)."""
    ...

savings = check.savings(savings)

# %% [markdown]
# <details><summary>Hint</summary>
#
# 3 · height · width against (height / f) · (width / f) · channels.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def savings(height, width, factor, channels):
#     return 3 * height * width / ((height // factor) * (width // factor) * channels)
# ```
# </details>

# %%
from course_utils.lab.progress import Progress
from course_utils.models.autoencoder import VAE, VAEConfig
from course_utils.training.batches import draw, place
from course_utils.training.loop import Part, fit

data = Plushies(size.pictures).in_memory()
torch.manual_seed(0)
# The course's class; here only its mean is used, and the decoder's input is not sampled: a plain autoencoder.
live = place(VAE(VAEConfig(widths=(16, 32, 64))))
x = pixels[:4].to(device)
print(f"{x[0].numel():,} numbers → {live.encode(x).mode()[0].numel()}: {savings(64, 64, 8, 4):.0f} times fewer; "
      f"{sum(p.numel() for p in live.parameters()) / 1e6:.2f} million weights")


def training_step(g):
    x, _ = draw(data, 32, g)
    z = live.encode(x).mode()
    loss = 0.5 * (x - live.decode(z)).square().mean()
    return loss, {"loss": loss.detach()}


def preview():
    with torch.no_grad():
        return live.decode(live.encode(x).mode()).clamp(-1, 1)


history = fit(Part(live, training_step, lr=2e-3, ema=0.998, weight_decay=0.0), steps=size.steps, seed=0, progress=Progress("autoencoder"), preview=preview)

# %%
plain = load("kl_sweep")[0.0]                      # the course's own plain autoencoder, of the same size


@torch.no_grad()
def encode(x, model=plain):
    return torch.cat([model.encode(part.to(device)).mode().cpu() for part in x.split(250)])


@torch.no_grad()
def decode(z, model=plain):
    return torch.cat([model.decode(part.to(device)).clamp(-1, 1).cpu() for part in z.split(250)])


rows = {"pictures": few, "yours": decode(encode(few, live), live), "the course's": decode(encode(few))}
plots.show(plots.to_jpeg(plots.labelled_rows(rows, scale=1.5)))
plots.curves(history.steps, {"loss": history.values["loss"]}, "step", "½ (x − x̂)², mean", "live training", markers=False, logy=True)
plt.show()
quality = {name: float(psnr(pixels[:250], decode(encode(pixels[:250], m), m)).mean()) for name, m in (("yours", live), ("the course's", plain))}
display(Markdown("PSNR on pictures that neither has seen: " + ", ".join(f"{name} **{v:.1f} dB**" for name, v in quality.items()) + "."))

# %% [markdown]
# PSNR is the mean squared error on a logarithmic scale; 10 dB more mean ten times less error. With 256 numbers in the place of 12,288, ground, colours and accessory are there,
# and mostly you can tell the animal. Eyes are smudges, and the fur is gone. (Later notebooks use a wider network, trained for longer, in which the eyes come back; notebook 03 is about the fur.) On the `cpu` profile yours and the course's had about the same training.
# **Try it**: `VAEConfig(latent_channels=16, widths=(16, 32, 64))` has four times the numbers. What comes back first?
#
# ## 5 · The same experiments in latents
#
# Compact: yes, by construction. Is each number news now? And is the space meaningful? We repeat the experiments of sections 2 and 3, with z in the place of x.

# %%
z = encode(pixels)                                                               # (N, 4, 8, 8)
random_latents = z.mean(0) + z.std(0) * torch.randn(6, 4, 8, 8, generator=runtime.generator(2))
rows = {
    "decoded": decode(z[:6]), "random point": decode(random_latents), "half and half": decode((z[:6] + z[6:12]) / 2),
    "nearest": pixels[nearest(z, z[:6])],
}
plots.show(plots.to_jpeg(plots.labelled_rows(rows, scale=1.5)))
agree_latents = agree(z, 0, 2)
across_latents = redundancy.neighbour_correlation(z)
at_pixels, pca_latents = redundancy.neighbour_correlation(pixels), needed(redundancy.pca_energy(z[:1000]), 0.99)
display(Markdown(f"Neighbouring numbers correlate by **{across_latents:.2f}** (in these pictures' pixels by {at_pixels:.2f}). 99 % of the variance is in **{pca_latents} of 256** directions. "
                 f"Nearest neighbours share species and accessory in **{agree_latents:.0%}** of cases (in pixels {agree_pixels:.0%})."))

# %% [markdown]
# Latents are compact in both senses: fewer numbers, and those less alike. But *meaningful* they are not:
#
# - a random point decodes to confetti, not to a plushie;
# - half and half is still a double exposure;
# - the nearest neighbour is right about the animal a little more often than in pixels, and wrong often enough.
#
# Nobody asked for more. The loss wants good reconstructions at the points E(x), and says nothing about the points between. How far off are they? The *kernel distance* (KID) compares two sets of pictures by their
# features (here those of the course's attribute classifier, the judge): how alike are two pictures of one set, on average, and how much less alike are two of different sets? For two sets of the same kind it is 0 on average, and by chance a little above or below.

# %%
features = StandardFeatures(load("judge").features, to_float(Plushies(500, "val").in_memory().pictures))
n = min(500, len(pixels) // 2)
draws = torch.randn(n, 4, 8, 8, generator=runtime.generator(3))
pixel_draws = (pixels.mean(0) + pixels.std(0) * torch.randn(n, 3, 64, 64, generator=runtime.generator(3))).clamp(-1, 1)
real, other = features(pixels[n : 2 * n]), torch.arange(n).roll(1)  # nobody is compared with himself
distance = {
    "other real pictures": kernel_distance(features(pixels[:n]), real),
    "reconstructions": kernel_distance(features(decode(z[:n])), real),
    "midpoints in pixels": kernel_distance(features((pixels[:n] + pixels[other]) / 2), real),
    "midpoints in latents": kernel_distance(features(decode((z[:n] + z[other]) / 2)), real),
    "random pixels": kernel_distance(features(pixel_draws), real),
    "random latents": kernel_distance(features(decode(z.mean(0) + z.std(0) * draws)), real),
}
fig, ax = plt.subplots(figsize=(9, 2.8))
shown = ax.barh(list(distance), list(distance.values()), color=[plots.COLOURS[i] for i in (6, 6, 0, 1, 0, 1)])
ax.bar_label(shown, fmt="%.3g", padding=3)
ax.set_xscale("symlog", linthresh=0.1)
ax.set(xlabel="kernel distance to real pictures", xlim=(-0.05, 6 * max(distance.values())))
ax.invert_yaxis()
plt.show()

# %% [markdown]
# Black is what a perfect and a good model score. Compare the blue bars, pixels, with the orange ones, latents. Random points are hopeless in both. Midpoints are far off in both, and in latents even farther: to a ghost comes the blur of the
# decoder. The autoencoder has moved the problem to a smaller room; it has not tidied up. To do so takes one more term in the loss, and that is notebook 02.
#
# ### Exercise 4 · Halfway (easy, 3 minutes)
#
# The slider below walks from one picture to another. Write its middle, the way through latents.

# %%
def halfway(encode, decode, a, b):
    """Functions encode: picture → latent and decode: latent → picture, pictures a and b → the picture halfway."""
    ...

halfway = check.halfway(halfway)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Encode both, take the mean of the latents, decode that.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def halfway(encode, decode, a, b):
#     return decode((encode(a) + encode(b)) / 2)
# ```
# </details>

# %%
from course_utils.lab.widgets.interpolation import Interpolation
from course_utils.lab.widgets.interpolation_core import InterpolationRequest

middle = halfway(encode, decode, pixels[:1], pixels[7:8])
walk = Interpolation(plain, pixels[:50], a=0, b=7)
print(f"your middle and the widget's differ by at most {float((middle[0] - walk.core.compute(InterpolationRequest(0, 7, 0.5)).latents).abs().max()):.0e}")
walk

# %% [markdown]
# Drag t, or use the arrow keys; choose two other pictures. The same as a still picture:

# %%
walk.static()

# %% [markdown]
# In pixels one picture fades out while the other fades in. In latents outlines do move a little here and there, and colours change place by place; but in the middle stands no animal that could be. **Try it**: find two
# pictures between which the way through latents *is* good. What do they have in common?
#
# ## 6 · Tractable? What a step costs
#
# A diffusion model works in many small steps (notebook 06 explains them), and each is a forward pass of a network, the *denoiser*, over all numbers. Ours is a transformer: it cuts its input into patches, makes a *token* of each, and lets every token look at
# every other (notebook 04). With n tokens of width d, its layers cost about $n\,d^2$ and the looking about $n^2 d$.
#
# Let the picture's side double. Then n is four times as large: layers cost 4 times, attention 16 times as much. In latents with f = 8 there are 64 times fewer tokens than in pixels, for the same patches of 2×2.
# We measure a denoiser of width 64 with two blocks: its operations, the time of one forward, and the memory that a training step must keep.

# %%
sides = [32, 64, 128, 256] if size.steps > 100 else [32, 64]
spaces = {"pixels, 2×2 patches": (3, 1, 2), "pixels, 4×4 patches": (3, 1, 4), "latents, 2×2 patches": (4, 8, 2)}
found = {name: [cost.step_cost(cost.denoiser_on(c, side // f, p).to(device), repeats=1 if side > 128 else 3) for side in sides]
         for name, (c, f, p) in spaces.items()}

fig, axes = plt.subplots(1, 3, figsize=(11, 3.4))
units = {"flops": (1e9, "GFLOP"), "seconds": (1e-3, "ms"), "saved": (2**20, "MiB kept for backward")}
for ax, (what, (unit, label)) in zip(axes, units.items()):
    ys = {name: [getattr(c, what) / unit for c in costs] for name, costs in found.items()}
    plots.curves(sides, ys, "side of the picture, pixels", label, {"flops": "work", "seconds": "time", "saved": "memory"}[what], ax, logy=True)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sides, [str(s) for s in sides])
    ax.get_legend().remove()
axes[0].legend(fontsize=8)
plt.show()

# %%
lines = [f"| | tokens at {sides[-1]} px | slope of work | slope of time | slope of memory |", "|---|---|---|---|---|"]
for name, costs in found.items():
    last = sides[-2:]
    a = [cost.slope(last, [getattr(c, what) for c in costs[-2:]]) for what in units]
    lines.append(f"| {name} | {costs[-1].tokens:,} | {a[0]:.1f} | {a[1]:.1f} | {a[2]:.1f} |")
in_pixels, in_patches, in_latents = (found[name][-1] for name in spaces)
ratio = {what: getattr(in_pixels, what) / getattr(in_latents, what) for what in units}
gentle = in_patches.flops / in_latents.flops
display(Markdown("\n".join(lines) + f"\n\nAt {sides[-1]} pixels a step in pixels takes **{ratio['flops']:,.0f} times** the operations of one in latents, "
                 f"{ratio['seconds']:,.0f} times the time and {ratio['saved']:,.0f} times the memory. With patches of 4×4 pixels it is still **{gentle:,.0f} times** the operations."))

# %% [markdown]
# All axes are logarithmic, so a power law is a straight line, and its slope is the exponent. (Slopes are taken between the last two sizes.) In pixels the slope of work comes near 4: attention, the fourth power of the side. In latents it is between 2 and 3, since 256 tokens are so
# few that layers still matter more. The times are those of two cores. Time follows the work where there is enough of it: in latents the curve is nearly flat, as what you see there is the overhead of starting each operation. Memory grows with the number of tokens, slope 2, as modern attention
# does not store its n × n table.
#
# Is it fair to give pixels such small patches? Larger patches do make pixels cheaper, as the middle curve shows. But the network must then invent all 48 numbers of a 4×4 patch at once from one token, and so the fine work moves *into* the layers. Seen
# in this way, an autoencoder is a patch that was learned: 8×8 pixels to 4 numbers and back, trained once, for that job alone.
#
# The price of admission, encoding and decoding, is paid once a picture and not in each of the steps.
#
# ## 7 · The table
#
# Every field is one of the measurements above.

# %%
display(Markdown("\n".join([
    "| wish | measured | pixels | latents | granted? |", "|---|---|---|---|---|",
    f"| tractable | operations of a step at {sides[-1]} px | {in_pixels.flops / 1e9:,.1f} GFLOP | {in_latents.flops / 1e9:,.3f} GFLOP | yes |",
    f"| compact | numbers of a 64×64 plushie | 12,288 | {z[0].numel()} | yes |",
    f"| | correlation of neighbours | {at_pixels:.2f} | {across_latents:.2f} | better |",
    f"| meaningful | kernel distance of random points | {distance['random pixels']:,.2f} | {distance['random latents']:,.2f} | no |",
    f"| | kernel distance of midpoints | {distance['midpoints in pixels']:,.2f} | {distance['midpoints in latents']:,.2f} | no |",
    f"| | nearest neighbour: same species and accessory | {agree_pixels:.0%} | {agree_latents:.0%} | hardly |",
    f"| and the price | PSNR of reconstructions | exact | {quality['the course' + chr(39) + 's']:.1f} dB | |"])))

# %% [markdown]
# Two wishes of three. What is missing is *structure*: latents that lie in a known place, without holes.
#
# ## In five lines
#
# 1. A pixel nearly tells its neighbour; a few waves, a few directions or a short file hold nearly all of a picture.
# 2. In pixel space a random point is snow, a midpoint is a ghost, and a near neighbour has the same wallpaper.
# 3. An autoencoder with f = 8 and 4 channels keeps 1 number of 48, and loses the fine texture.
# 4. A transformer's step costs n d² + n² d: with 64 times fewer tokens, latents save a factor of hundreds at 256 pixels.
# 5. Latents of a plain autoencoder are compact, but not meaningful: nobody asked for it.
#
# ## In Stable Diffusion and FLUX
#
# Stable Diffusion 1 takes f = 8 and 4 channels as we do: 512×512×3 = 786,432 numbers become 64×64×4 = 16,384, again 48 times fewer. Rombach et al. tried f from 1 to 32, and found f = 4 to 8 the best trade of speed against what is lost. FLUX.1 keeps f = 8, has 16
# channels (12 times fewer numbers), and makes a token of each 2×2 patch of latents: 4,096 tokens for a picture of 1024×1024 pixels, where patches of 2×2 pixels would make 262,144.
#
# ## References
#
# - Rombach et al. 2022, *High-Resolution Image Synthesis with Latent Diffusion Models* (arXiv:2112.10752), §3.1 and §4.1: why latents, and which f.
# - Ruderman & Bialek 1994, *Statistics of Natural Images: Scaling in the Woods* (Phys. Rev. Lett. 73): correlation of pixels over distance.
# - Hinton & Salakhutdinov 2006, *Reducing the Dimensionality of Data with Neural Networks* (Science 313): autoencoders against PCA.
# - Vaswani et al. 2017, *Attention Is All You Need* (arXiv:1706.03762), table 1: what attention costs.
# - Peebles & Xie 2023, *Scalable Diffusion Models with Transformers* (arXiv:2212.09748), §3 and figure 8: tokens, patches and work.
# - Bińkowski et al. 2018, *Demystifying MMD GANs* (arXiv:1801.01401), §4: the kernel distance (KID), and why it is unbiased.
#
# **Next:** notebook 02 asks the autoencoder to tidy up: three changes make it a VAE.
