"""A regulariser for multi-modal classifiers, by how much the prediction moves when one modality is perturbed.

Cf. Gat et al. (2020). Modality i of sample x is perturbed alone: z = x_i + S_i^(1/2) e, e ~ N(0, I). f_i(z) >= 0 is the
divergence between the softmax of the clean and of the perturbed features. Its functional Fisher information

    I_i = mean over samples of E <S_i grad f_i, grad f_i>/f_i

bounds twice its functional entropy from above (log-Sobolev). The forms, each a number to be added to the loss:

- "information": strength sum_i 1/I_i, the paper's. The released code takes the 2-norm of (1/I_i)_i instead of the sum.
- "variance": strength sum_i 1/V_i with V_i = E <S_i grad f_i, grad f_i> (at least Var f_i, by Poincare), or Var f_i.
- "balance": -strength sum_i ln(I_i/sum_j I_j), at least m ln m for m modalities, attained iff all I_i are equal.

Where it differs from the released code: f is the loss of one sample (there the batch's mean loss is differentiated and
divided by, so the value depends on the batch size); modalities are perturbed one at a time (there all together, which
is no term of a tensorization); the gradient is weighted by S, without which the inequalities are false once the largest
eigenvalue of S exceeds 1. The weighted I_i does not change when the features are rescaled and the head with them.

Which form, how strong, and when. On an untrained network the information of the cross-entropy is of order 1e-8: 1/I
drowns the loss, and the network never learns. So switch "information" and "variance" on after some epochs, at 1e-3 to
1e-2; "balance" has no scale, needs no warm-up, and works at .1 to 1. On coloured digits it removes the bias and the
others do not (paper_notes/gat2020.md). A step costs three to four times as much, and needs second derivatives.

In a training loop of your own:
    >>> import torch
    >>> draw = torch.Generator().manual_seed(0)
    >>> image, sound = torch.randn(32, 5, generator=draw), torch.randn(32, 2, generator=draw)
    >>> labels = torch.randint(3, (32,), generator=draw)
    >>> network = torch.nn.Linear(7, 3)
    >>> head = lambda image, sound: network(torch.cat([image, sound], dim=1))
    >>> regulariser = FunctionalEntropyRegulariser("balance", strength=0.1)
    >>> loss = torch.nn.functional.cross_entropy(head(image, sound), labels)
    >>> _ = network.eval()                                      # dropout and batch normalisation off in what follows
    >>> loss = loss + regulariser(head, [image, sound])
    >>> _ = network.train()
    >>> loss.backward()
    >>> network.weight.grad.shape
    torch.Size([3, 7])
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from theory import checks

FORMS = ("information", "variance", "balance")
DIVERGENCES = ("cross_entropy", "reverse_cross_entropy", "kl")
VARIANCES = ("energy", "draws")
Features = Sequence[Tensor] | Mapping[str, Tensor]


class FunctionalEntropyRegulariser(torch.nn.Module):
    """strength times a penalty on the modalities' functional Fisher information (or variance); see the module's text.

    Call it as regulariser(head, features); the head returns logits. The samples of the batch must not see each other
    inside the head, and the same features must give the same logits: with batch normalisation or dropout in the head,
    put it into evaluation mode for this call (module's example). Leave out a last batch that is much smaller than the
    others (drop_last=True), or give `covariance` from the training set: the variance of a few samples is noisy, and 1/I
    explodes.
    Features of half precision are perturbed as such; f, its slopes and the result are in float32.

    Args:
        form: "information" (the paper's), "variance" or "balance".
        strength: lambda >= 0; no default, see the module's text.
        draws: n >= 1 perturbations of each sample and modality; at least 2 for variance="draws". A sample's terms are
            unbiased at every n (1/I of finitely many samples and draws is not: Jensen).
        divergence: f between p = softmax of the clean features' logits and q = that of the perturbed ones:
            "cross_entropy" -sum p ln q (as released), "reverse_cross_entropy" -sum q ln p, or "kl" sum p ln(p/q).
        covariance: S_i: "empirical", the batch's variance of each feature (held fixed when differentiating; the
            population form, so that a repeated batch changes nothing); or one for each modality, in the order or under
            the names of the features: (d_i,) variances or a (d_i, d_i) covariance, d_i the number of features.
        per_feature: whether empirical variances are per feature, or one for the modality, their mean.
        variance_floor: least empirical variance: features that are constant in the batch are perturbed by this much.
        variance: what the form "variance" measures: "energy" E <S grad f, grad f>, or "draws", the unbiased sample
            variance of f over its draws.
        offset: c >= 0, added to f where it divides: the information of f + c, which is at most that of f. Keeps 0/0
            away where float32 rounds a confident prediction's f to 0.
        generator: of the perturbations; torch's global one by default.

    Raises:
        InvalidInput: an unknown option, or one of another form; a number out of range; a covariance that is not
            positive semidefinite.

    Example:
        >>> features = {"a": torch.tensor([[1.0], [-1.0]]), "b": torch.tensor([[2.0], [0.0]])}
        >>> head = lambda a, b: torch.cat([a, b], dim=1)
        >>> FunctionalEntropyRegulariser("balance", strength=1, draws=500)(head, features).item() >= 2 * 0.6931
        True
    """

    def __init__(
        self,
        form: str,
        *,
        strength: float,
        draws: int = 3,
        divergence: str = "cross_entropy",
        covariance: str | Sequence[Any] | Mapping[str, Any] = "empirical",
        per_feature: bool = True,
        variance_floor: float = 0.0,
        variance: str = "energy",
        offset: float = 1e-6,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.form = checks.choice("form", form, FORMS)
        self.strength = checks.number("strength", strength, 0)
        self.variance = checks.choice("variance", variance, VARIANCES)
        if form != "variance" and variance != "energy":
            checks.fail("variance", f"it left out with form={form!r}", variance, 'it belongs to form="variance"')
        two = variance == "draws"
        if two and draws == 1:
            checks.fail("draws", "at least 2 for the variance of draws", 1, 'draw more, or use variance="energy"')
        self.draws = checks.integer("draws", draws, minimum=1)
        self.divergence = checks.choice("divergence", divergence, DIVERGENCES)
        self.per_feature = per_feature
        self.variance_floor = checks.number("variance_floor", variance_floor, 0)
        self.offset = checks.number("offset", offset, 0)
        self.generator = generator
        self._roots = None if isinstance(covariance, str) else _roots(covariance)
        if isinstance(covariance, str):
            checks.choice("covariance", covariance, ("empirical",))

    def forward(self, head: Callable[..., Tensor], features: Features) -> Tensor:
        """strength times the penalty: a tensor of shape (), differentiable in the head's parameters and the features.

        Args:
            head: from features to logits (N, classes), called as head(*features) or, for a mapping, head(**features).
            features: one tensor (N, ...) for each modality.

        Raises:
            InvalidInput: shapes that do not match, NaN, a modality that does not vary, a head that ignores a modality,
                one modality where "balance" compares several.
        """
        terms = self._measured(head, features, alone=True).mean(dim=1)
        if not self.strength:
            return 0 * terms.sum()
        names = list(features) if isinstance(features, Mapping) else list(range(len(features)))
        for name, term in zip(names, terms.detach().tolist(), strict=True):
            if not term > 0:
                remedy = "the prediction does not move with this modality: look at the head, or raise the covariance"
                checks.fail(f"{self.form} of modality {name!r}", "a positive number", term, remedy)
        return self.strength * self.penalty(terms)

    def penalty(self, terms: Tensor) -> Tensor:
        """The penalty without its strength, of terms (m, ...): modalities along the first axis.

        Where gradients of several batches are accumulated, average their `terms` first: unlike the terms, the penalty
        of a batch is not the mean of its parts' penalties.
        """
        if self.form == "balance":
            if len(terms) < 2:
                checks.fail("features", "at least two modalities to balance", len(terms), 'use form="information"')
            return -(terms / terms.sum(dim=0)).log().sum(dim=0)
        return (1 / terms).sum(dim=0)

    def terms(self, head: Callable[..., Tensor], features: Features) -> Tensor:
        """I_i, or V_i for the form "variance", averaged over the samples: (m,). Arguments as for `forward`."""
        return self.per_sample(head, features).mean(dim=1)

    def per_sample(self, head: Callable[..., Tensor], features: Features) -> Tensor:
        """Every sample's own estimate of I_i or V_i, (m, N), averaged over the draws. Arguments as for `forward`.

        Under `torch.no_grad()` the result carries no gradient, and costs less. Unlike in `forward` it is not checked
        that the samples do not see each other.
        """
        return self._measured(head, features, alone=False)

    def _measured(self, head: Callable[..., Tensor], features: Features, alone: bool) -> Tensor:
        if not callable(head):
            checks.fail("head", "a function of the features", type(head).__name__, "regulariser(head, features)")
        names, clean = _checked(features)
        keep = torch.is_grad_enabled()

        def see(parts: list[Tensor]) -> Tensor:
            return _log_softmax(head(*parts) if names is None else head(**dict(zip(names, parts, strict=True))), parts)

        # the gradient in the perturbation is needed even where that of the result is not
        # the fused attention kernels have no second derivatives
        with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            clean = [x.clone() if x.is_inference() else x for x in clean]
            roots = self._perturbations(names, clean)
            p = see(clean)
            if alone:
                _refuse_company(see, clean, p)
            keep = keep and p.requires_grad  # otherwise there is nothing to train
            found = torch.stack([self._term(see, clean, p, i, root, keep) for i, root in enumerate(roots)])
        if not bool(found.isfinite().all()):
            remedy = "the head diverged, or f was rounded to 0 where it divides: raise offset"
            checks.fail("terms", "finite numbers", f"{int((~found.isfinite()).sum())} NaN or infinite", remedy)
        return found if keep else found.detach()

    def extra_repr(self) -> str:
        """The settings that torch prints."""
        return f"{self.form}, strength={self.strength}, draws={self.draws}, divergence={self.divergence}"

    def _term(
        self, see: Callable[[list[Tensor]], Tensor], clean: list[Tensor], p: Tensor, i: int, root: Tensor, keep: bool
    ) -> Tensor:
        """(N,): modality i perturbed. Differentiating in e itself weights the gradient: grad_e f = S^(1/2) grad_z f."""
        n, N = self.draws, len(clean[0])
        x = clean[i]
        # squares of slopes underflow in half precision
        e = torch.randn(n, N, x[0].numel(), generator=self.generator, dtype=root.dtype, device=x.device)
        e.requires_grad_(self.form != "variance" or self.variance != "draws")
        move = e * root if root.ndim == 1 else e @ root
        rows = [other.repeat(n, *[1] * (other.ndim - 1)) for other in clean]
        rows[i] = (x.flatten(1) + move).to(x.dtype).reshape(n * N, *x.shape[1:])
        q = see(rows).reshape(n, N, -1)
        f = self._f(p, q)
        if self.form == "variance" and self.variance == "draws":
            return f.var(dim=0)
        if not f.requires_grad:  # a head that depends on nothing
            return f.new_zeros(N)
        (slope,) = torch.autograd.grad(f.sum(), e, create_graph=keep, allow_unused=True, materialize_grads=True)
        energy = slope.square().sum(dim=2)
        return (energy if self.form == "variance" else energy / (f + self.offset)).mean(dim=0)

    def _f(self, p: Tensor, q: Tensor) -> Tensor:
        """The divergence (n, N) from log-probabilities p (N, C) and q (n, N, C)."""
        if self.divergence == "reverse_cross_entropy":
            return -(q.exp() * p).sum(dim=-1)
        if self.divergence == "cross_entropy":
            return -(p.exp() * q).sum(dim=-1)
        return (p.exp() * (p - q)).sum(dim=-1).clamp_min(0)  # rounding can make it negative

    def _perturbations(self, names: list[str] | None, clean: list[Tensor]) -> list[Tensor]:
        """A root of S_i for every modality: (d_i,) deviations, or a symmetric (d_i, d_i) matrix."""
        labels = list(range(len(clean))) if names is None else names
        if self._roots is None:
            return [self._empirical(name, x) for name, x in zip(labels, clean, strict=True)]
        if set(self._roots) != set(labels):
            remedy = "give one for each modality, in their order or under their names"
            checks.fail("covariance", f"modalities {labels}", list(self._roots), remedy)
        found = []
        for name, x in zip(labels, clean, strict=True):
            root = self._roots[name]
            if len(root) != x[0].numel():
                wanted = f"{x[0].numel()} features"
                checks.fail(f"covariance of modality {name!r}", wanted, len(root), "one row for each feature")
            found.append(root.to(x.device, _wide(x)))
        return found

    def _empirical(self, name: Any, x: Tensor) -> Tensor:
        spread = x.detach().to(_wide(x)).flatten(1).var(dim=0, correction=0)
        if not self.per_feature:
            spread = spread.mean().expand_as(spread)
        spread = spread.clamp_min(self.variance_floor)
        if not float(spread.max()) > 0:
            if len(x) == 1:
                remedy = "drop_last=True for the last batch, or covariance= from the training set"
                checks.fail("batch", "at least 2 samples, for their variance", 1, remedy)
            remedy = "it is the same for every sample: leave it out, set variance_floor, or give its covariance"
            checks.fail(f"modality {name!r}", "features that vary within the batch", "variance 0", remedy)
        return spread.sqrt()


def _refuse_company(see: Callable[[list[Tensor]], Tensor], clean: list[Tensor], p: Tensor) -> None:
    """Refuse a head in which a sample's logits depend on the other samples, or on chance."""
    if len(p) < 3:
        return
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        few = see([x[:2] for x in clean])
    if bool((few - p[:2]).abs().max() > 1e-2 * p.detach().abs().max()):
        remedy = "batch normalisation or dropout? network.eval(), this call, then network.train()"
        checks.fail("head", "logits of each sample that depend on that sample alone", "others in a part of it", remedy)


def _log_softmax(logits: Any, parts: list[Tensor]) -> Tensor:
    rows = len(parts[0])
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != rows or logits.shape[1] < 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        checks.fail("head", f"logits of shape ({rows}, at least 2 classes)", got, "one row for each sample")
    return logits.to(_wide(logits)).log_softmax(dim=1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _checked(features: Any) -> tuple[list[str] | None, list[Tensor]]:
    if not isinstance(features, (Mapping, Sequence)) or not len(features):
        checks.fail("features", "a list or mapping of tensors", type(features).__name__, "one tensor for each modality")
    names = list(features) if isinstance(features, Mapping) else None
    clean = list(features.values()) if isinstance(features, Mapping) else list(features)
    for name, x in zip(names or range(len(clean)), clean, strict=True):
        what = f"modality {name!r}"
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            checks.fail(what, "a tensor of floats", got, "convert it with torch.as_tensor(..., dtype=torch.float32)")
        if x.ndim < 2 or 0 in x.shape or len(x) != len(clean[0]):
            rows = len(clean[0]) if isinstance(clean[0], Tensor) and clean[0].ndim else "N"
            wanted = f"shape ({rows}, features), not empty"
            checks.fail(what, wanted, tuple(x.shape), "one row for each sample, the same samples in every modality")
        checks.finite(what, x.detach())
    return names, clean


def _roots(covariance: Any) -> dict[Any, Tensor]:
    """By modality: deviations (d,), or the symmetric root of a covariance (d, d)."""
    if not isinstance(covariance, (Mapping, Sequence)):
        remedy = "a list [S_a, S_b], or a mapping"
        checks.fail("covariance", "one entry for each modality", type(covariance).__name__, remedy)
    named = covariance.items() if isinstance(covariance, Mapping) else enumerate(covariance)
    found: dict[Any, Tensor] = {}
    for name, given in named:
        what = f"covariance of modality {name!r}"
        given = torch.as_tensor(given).detach()
        S = given.double()
        unit = 64 * torch.finfo(given.dtype).eps if given.is_floating_point() else 1e-14
        checks.finite(what, S)
        if S.ndim not in (1, 2) or 0 in S.shape or (S.ndim == 2 and S.shape[0] != S.shape[1]):
            checks.fail(what, "variances (d,) or a covariance (d, d)", tuple(S.shape), "d: features of the modality")
        if S.ndim == 2 and float((S - S.T).abs().max()) > unit * float(S.abs().max()):
            checks.fail(what, "a symmetric matrix", "an asymmetric one", "use (S + S.T)/2 if that is what is meant")
        values, vectors = (S, None) if S.ndim == 1 else torch.linalg.eigh(S)
        least, largest = float(values.min()), float(values.max())
        if least < -unit * len(S) * max(largest, 0) or not largest > 0:
            wanted = "a positive semidefinite matrix that is not 0"
            checks.fail(what, wanted, f"eigenvalues from {least:.3g} to {largest:.3g}", "give a covariance")
        scale = values.clamp_min(0).sqrt()
        found[name] = scale if vectors is None else (vectors * scale) @ vectors.T
    return found
