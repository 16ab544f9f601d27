"""Losses of self-supervised learning on many views, with a weight on the loss term of the view that predicts.

Drop-in use with `theory.outlier` in a training loop; weights carry no gradient:

    >>> import torch
    >>> from theory import outlier
    >>> encoder = torch.nn.Linear(10, 4)
    >>> views = torch.randn(32, 6, 10, generator=torch.Generator().manual_seed(0))      # images, views, inputs
    >>> z = torch.nn.functional.normalize(encoder(views), dim=-1)
    >>> loss = info_nce(z, outlier.weights(z, normalise="batch"))
    >>> loss.backward()
    >>> encoder.weight.grad.shape
    torch.Size([4, 10])
"""

import torch
from jaxtyping import Float
from torch import Tensor

from theory import checks

TARGETS = ("all", "global")
GLOBAL_VIEWS = 2


def info_nce(
    z: Tensor,
    weights: Tensor | None = None,
    *,
    temperature: float = 0.2,
    targets: str = "all",
) -> Float[Tensor, ""]:
    """Weighted InfoNCE (van den Oord et al. 2018): the mean of weight times loss over pairs of views of one image.

    View j predicts its target t != j: the loss is -log of the share of exp(<z_ij, z_it>/T) in the sum of itself and all
    exp(<z_ij, z_kl>/T) with k != i; the weight is that of view j.

    Args:
        z: embedded views (N, M, d) with N, M >= 2; scaled to norm 1 here.
        weights: (N, M), non-negative, not all 0; detached here. None: uniform.
        temperature: T > 0 of the softmax (the temperature of the weights is another one).
        targets: "all" other views of the image, or its "global" ones (views 0 and 1) other than itself.

    Raises:
        InvalidInput: wrong shapes, negative or non-finite weights, a temperature that is not positive.
    """
    return _weighted(info_nce_terms(z, temperature=temperature, targets=targets), weights)


def info_nce_terms(z: Tensor, *, temperature: float = 0.2, targets: str = "all") -> Float[Tensor, "N M"]:
    """What every view adds to the mean of `info_nce` with weight 1; arguments as there."""
    temperature = checks.number("temperature", temperature, 0, open_low=True)
    checks.choice("targets", targets, TARGETS)
    images, views = _stacked("z", z)
    if images < 2:
        checks.fail("z", "at least two images", images, "the other images are what a view is told apart from")
    unit = torch.nn.functional.normalize(z, dim=-1)
    flat = unit.reshape(images * views, -1)
    image = torch.arange(images, device=z.device).repeat_interleave(views)
    others = (flat @ flat.T / temperature).masked_fill(image[:, None] == image, -torch.inf)
    rest = others.logsumexp(dim=1).reshape(images, views, 1)
    pairs = unit @ unit.mT / temperature  # (N, M, M)
    losses = -torch.nn.functional.logsigmoid(pairs - rest)  # -log of exp(pair) / (exp(pair) + exp(rest))
    return _of_each_view(losses, targets)


def swapped_prediction(
    scores: Tensor,
    weights: Tensor | None = None,
    *,
    temperature: float = 0.1,
    sharpness: float = 0.05,
    iterations: int = 3,
) -> Float[Tensor, ""]:
    """Weighted swapped prediction (Caron et al. 2020): every view predicts the cluster codes of the global views.

    The mean, over pairs of a view j and a global view g != j, of weight_ij times the cross-entropy between the code of
    g and softmax(scores_ij/T); with weights normalised over the batch it is the released loss, without a queue.

    Args:
        scores: similarities of every view to K prototypes, (N, M, K), M >= 2.
        weights: (N, M), as in `info_nce`.
        temperature: T > 0 of the prediction.
        sharpness: of the codes, > 0: epsilon of the Sinkhorn iterations.
        iterations: of Sinkhorn, >= 1.

    Raises:
        InvalidInput: as `info_nce`.
    """
    temperature = checks.number("temperature", temperature, 0, open_low=True)
    _stacked("scores", scores)
    logs = (scores / temperature).log_softmax(dim=-1)
    codes = [sinkhorn_codes(scores[:, g], sharpness=sharpness, iterations=iterations) for g in range(GLOBAL_VIEWS)]
    losses = -(logs @ torch.stack(codes, dim=2).to(logs.dtype))  # (N, M, global views)
    return _weighted(_of_each_view(losses, "global"), weights)


def sinkhorn_codes(
    scores: Float[Tensor, "N K"], *, sharpness: float = 0.05, iterations: int = 3
) -> Float[Tensor, "N K"]:
    """Soft cluster codes that use all K prototypes about equally: rows sum to 1. Computed on logarithms; no gradient.

    Args:
        scores: (N, K).
        sharpness: epsilon > 0; the smaller, the harder the codes.
        iterations: alternations of scaling columns and rows, >= 1.

    Raises:
        InvalidInput: out of range.
    """
    logs = scores.detach().double() / checks.number("sharpness", sharpness, 0, open_low=True)
    for _ in range(checks.integer("iterations", iterations, minimum=1)):
        logs = logs - logs.logsumexp(dim=0, keepdim=True)
        logs = logs - logs.logsumexp(dim=1, keepdim=True)
    return logs.exp().to(scores.dtype)


def _of_each_view(losses: Tensor, targets: str) -> Tensor:
    """Losses (N, M, targets) summed over each view's targets, scaled so that the mean over views is that over pairs."""
    views, columns = losses.shape[1:]
    chosen = ~torch.eye(views, columns, dtype=torch.bool, device=losses.device)
    if targets == "global":
        chosen[:, GLOBAL_VIEWS:] = False
    return losses.masked_fill(~chosen, 0.0).sum(dim=2) * (views / int(chosen.sum()))


def _stacked(name: str, z: Tensor) -> tuple[int, int]:
    _tensor(name, z)
    if z.ndim != 3 or 0 in z.shape or z.shape[1] < 2:
        wanted = "shape (images, views, dimension), at least 2 views"
        checks.fail(name, wanted, f"shape {tuple(z.shape)}", "stack the views of each image along axis 1")
    return z.shape[0], z.shape[1]


def _tensor(name: str, values: object) -> None:
    if not isinstance(values, Tensor):
        remedy = "losses are for training: torch.as_tensor makes one"
        checks.fail(name, "a torch tensor", type(values).__name__, remedy)


def _weighted(terms: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return terms.mean()
    _tensor("weights", weights)
    if weights.shape != terms.shape:
        got = f"shape {tuple(weights.shape)}"
        checks.fail("weights", f"shape {tuple(terms.shape)}", got, "one weight per view")
    weights = weights.detach()
    checks.finite("weights", weights)
    if float(weights.min()) < 0 or not float(weights.max()) > 0:
        checks.fail("weights", "non-negative numbers, not all 0", "negative ones, or only zeros", "check their source")
    return (weights.to(terms.dtype) * terms).mean()
