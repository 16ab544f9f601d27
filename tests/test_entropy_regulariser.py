"""The regulariser: its terms against quadrature and a sample-by-sample loop, laws, training with it, bad input."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from theory.checks import InvalidInput
from theory.entropy.regulariser import DIVERGENCES, FORMS, FunctionalEntropyRegulariser
from theory.seeding import torch_generator

LINEAR = torch.tensor([[0.7, -1.1], [-0.4, 0.9], [1.3, 0.2]], dtype=torch.float64)  # three inputs, two classes


def head(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=1) @ LINEAR.to(first)


def sample(count: int = 6, seed: int = 0) -> list[Tensor]:
    draw = torch_generator("features", seed)
    return [torch.randn(count, d, generator=draw, dtype=torch.float64) for d in (1, 2)]


def make(form: str = "information", seed: int = 0, **options) -> FunctionalEntropyRegulariser:
    return FunctionalEntropyRegulariser(form, generator=torch_generator("test", seed), **{"strength": 1.0} | options)


def divergence(p: np.ndarray, q: np.ndarray, kind: str) -> np.ndarray:
    if kind == "reverse_cross_entropy":
        return -(q * np.log(p)).sum(-1)
    return -(p * np.log(q)).sum(-1) + (p * np.log(p)).sum(-1) * (kind == "kl")


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_terms_against_quadrature(kind: str) -> None:
    """The scalar first modality: f along it by Gauss-Hermite, its slope by central differences."""
    features, variance = sample(4), 0.6
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)  # no node where KL is 0
    weights = weights / weights.sum()
    x, fixed = features[0].numpy(), features[1].numpy() @ LINEAR[1:].numpy()

    def softmax(logits: np.ndarray) -> np.ndarray:
        e = np.exp(logits)
        return e / e.sum(-1, keepdims=True)

    p = softmax(x * LINEAR[0].numpy() + fixed)

    def f(z: np.ndarray) -> np.ndarray:
        return divergence(p, softmax(z[..., None] * LINEAR[0].numpy() + fixed), kind)  # (nodes, samples)

    z = x[:, 0] + math.sqrt(variance) * nodes[:, None]
    slope = (f(z + 1e-5) - f(z - 1e-5)) / 2e-5
    energy = weights @ (variance * slope**2)
    information = weights @ (variance * slope**2 / (f(z) + 1e-6))
    spread = weights @ (f(z) - weights @ f(z)) ** 2
    options = {"draws": 1, "divergence": kind, "covariance": [[variance], [0.3, 0.4]]}
    repeated = [part.repeat(4000, 1) for part in features]
    for form, expected in (("information", information), ("variance", energy)):
        values = make(form, **options).per_sample(head, repeated)[0].detach().reshape(4000, 4)
        error = values.std(dim=0).numpy() / math.sqrt(4000)
        assert (np.abs(values.mean(dim=0).numpy() - expected) < 4.5 * error + 1e-9).all(), form
    two = make("variance", variance="draws", **{**options, "draws": 2}).per_sample(head, repeated)[0].reshape(4000, 4)
    error = two.std(dim=0).numpy() / math.sqrt(4000)
    assert (np.abs(two.mean(dim=0).numpy() - spread) < 4.5 * error).all()
    assert (spread <= energy).all()  # Poincare


@pytest.mark.parametrize("full", [False, True])
def test_terms_against_a_loop(full: bool) -> None:
    """Sample by sample with explicit S-weighted gradients, on the same perturbations."""
    features, n = sample(5), 4
    S = [torch.tensor([[0.5]]), torch.tensor([[1.0, 0.3], [0.3, 0.7]] if full else [[1.0, 0.0], [0.0, 0.7]])]
    S = [part.double() for part in S]
    given = S if full else [part.diagonal() for part in S]
    found = make(draws=n, covariance=given, offset=0.0).per_sample(head, features).detach()
    stream = torch_generator("test", 0)
    for i in (0, 1):
        e = torch.randn(n, 5, S[i].shape[0], generator=stream, dtype=torch.float64)
        eigenvalues, vectors = torch.linalg.eigh(S[i])
        root = vectors @ eigenvalues.sqrt().diag() @ vectors.T
        for j in range(5):
            p = head(*[part[j : j + 1] for part in features]).softmax(dim=1)[0]
            terms = []
            for k in range(n):
                z = (features[i][j] + root @ e[k, j]).requires_grad_()
                parts = [part[j] for part in features]
                parts[i] = z
                f = -(p * head(*[part[None] for part in parts]).log_softmax(dim=1)[0]).sum()
                (g,) = torch.autograd.grad(f, z)
                terms.append(float(g @ S[i] @ g / f.detach()))
            assert float(found[i, j]) == pytest.approx(np.mean(terms), rel=1e-9)


def test_batch_size_does_not_matter() -> None:
    """Repeating the batch leaves the expectation; parts average to the whole. The batch's mean loss would not do so."""
    features = sample(6)
    S = [[0.5], [0.5, 0.2]]
    rows = make(draws=20_000, covariance=S).per_sample(head, features)
    repeated = make(draws=2_000, covariance=S, seed=1).terms(head, [part.repeat(10, 1) for part in features])
    assert torch.allclose(rows.mean(dim=1), repeated, rtol=0.03)
    halves = [[part[:2] for part in features], [part[2:] for part in features]]
    parts = [make(draws=20_000, covariance=S, seed=2 + k).terms(head, half) for k, half in enumerate(halves)]
    assert torch.allclose(rows.mean(dim=1), (2 * parts[0] + 4 * parts[1]) / 6, rtol=0.03)
    # empirical variances too: the population form is that of the repeated batch
    both = [make(draws=1)._perturbations(None, [part.repeat(k, 1) for part in features]) for k in (1, 7)]
    assert all(torch.allclose(a, b) for a, b in zip(*both, strict=True))


def test_units_do_not_matter() -> None:
    """S-weighting: features in other units, with a head that converts them back, have the same information."""
    features = sample(8)
    scaled = make("balance")(lambda a, b: head(a / 1000, b * 10), [features[0] * 1000, features[1] / 10])
    assert scaled.item() == pytest.approx(make("balance")(head, features).item(), rel=1e-9)


def test_penalties() -> None:
    terms = torch.tensor([0.5, 2.0, 1.5])
    assert float(make("information").penalty(terms)) == pytest.approx(2 + 0.5 + 2 / 3)
    assert float(make("variance").penalty(terms)) == pytest.approx(2 + 0.5 + 2 / 3)
    assert float(make("balance").penalty(terms)) == pytest.approx(-math.log(0.125 * 0.5 * 0.375))
    assert float(make("balance").penalty(terms * 9)) == pytest.approx(float(make("balance").penalty(terms)))
    for m in (2, 3, 5):
        assert float(make("balance").penalty(torch.full((m,), 0.3))) == pytest.approx(m * math.log(m))
        assert float(make("balance").penalty(torch.arange(1.0, m + 1))) > m * math.log(m) + 1e-3
    assert make("information").penalty(terms[:, None].expand(3, 4)).shape == (4,)


def test_divergences_differ_as_they_should() -> None:
    """KL is the cross-entropy without its floor H(p): the same slope over a smaller f."""
    features = sample(8)
    found = {kind: make(divergence=kind, draws=50).per_sample(head, features) for kind in DIVERGENCES}
    energy = {kind: make("variance", divergence=kind, draws=50).per_sample(head, features) for kind in DIVERGENCES}
    assert (found["kl"] > found["cross_entropy"]).all()
    assert torch.allclose(energy["kl"], energy["cross_entropy"])
    assert not torch.allclose(energy["kl"], energy["reverse_cross_entropy"])
    # F6: KL is (||W||_op^2/2)-smooth in z, so the information is at most 2L
    assert float(found["kl"].max()) <= float(torch.linalg.matrix_norm(LINEAR, 2)) ** 2 * float(
        features[1].var(dim=0).max()
    )


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("form", [*FORMS, "draws"])
def test_gradient(form: str, kind: str) -> None:
    """The derivative in the head's weights and in the features (through p and z) against central differences."""
    options = {"variance": "draws"} if form == "draws" else {}
    features, weights = sample(5), LINEAR.clone().requires_grad_()
    first = features[0].clone().requires_grad_()

    def value(w: Tensor, x: Tensor) -> Tensor:
        regulariser = make(
            "variance" if form == "draws" else form, divergence=kind, covariance=[[0.5], [0.5, 0.2]], **options
        )
        return regulariser(lambda a, b: torch.cat([torch.tanh(a), b], dim=1) @ w, [x, features[1]])

    slopes = torch.autograd.grad(value(weights, first), (weights, first))
    for tensor, slope, which in ((weights, slopes[0], 0), (first, slopes[1], 1)):
        direction = torch.randn(tensor.shape, generator=torch_generator("direction", which), dtype=torch.float64)
        ends = []
        for step in (1e-5, -1e-5):
            arguments = [weights.detach(), first.detach()]
            arguments[which] = arguments[which] + step * direction
            ends.append(float(value(*arguments).detach()))
        assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_names_shapes_and_several_modalities() -> None:
    draw = torch_generator("shapes", 0)
    features = {"image": torch.randn(4, 1, 3, 3, generator=draw), "sound": torch.randn(4, 2, generator=draw)}
    features["text"] = torch.randn(4, 5, generator=draw)

    def network(image: Tensor, sound: Tensor, text: Tensor) -> Tensor:
        total = image.flatten(1).sum(dim=1) + sound.sum(dim=1) - text[:, 0]
        return torch.stack([total, -total, total**2 / 9], dim=1)

    assert make(draws=2).per_sample(network, features).shape == (3, 4)
    by_name = {"text": np.ones(5), "image": 2 * np.eye(9), "sound": np.ones(2)}
    in_order = [2 * np.ones(9), np.ones(2), np.ones(5)]
    assert torch.allclose(
        make(covariance=by_name)(network, features),
        make(covariance=in_order)(lambda *parts: network(*parts), list(features.values())),
    )


def test_options_of_the_variance() -> None:
    features = [torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([[0.0], [4.0]])]
    each = make()._perturbations(None, features)
    assert each[0].tolist() == [1.0, 0.0] and each[1].tolist() == [2.0]
    assert make(per_feature=False)._perturbations(None, features)[0].tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert make(variance_floor=0.25)._perturbations(None, features)[0].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision(form: str, dtype: torch.dtype) -> None:
    """Slopes are squared in float32: small ones do not vanish, and the result is float32, near its value there."""
    weights = (0.1 * LINEAR).to(dtype).requires_grad_()  # information of order 1e-6, squared slopes below float16's

    def trained(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=1) @ weights

    value = make(form, draws=50)(trained, [part.to(dtype) for part in sample(32)])
    wide = make(form, draws=50)(lambda a, b: head(a, b) / 10, [part.float() for part in sample(32)])
    assert value.dtype == torch.float32 and float(value.detach()) == pytest.approx(float(wide), rel=0.25)
    (slope,) = torch.autograd.grad(value * 1e-6, weights)
    assert bool(slope.isfinite().all()) and bool(slope.any())


def test_autocast() -> None:
    features = [part.float() for part in sample(32)]
    weights = LINEAR.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = make(draws=50)(lambda a, b: torch.cat([a, b], dim=1) @ weights, features)
    value.backward()
    assert value.dtype == weights.grad.dtype == torch.float32 and bool(weights.grad.isfinite().all())
    assert float(value.detach()) == pytest.approx(float(make(draws=50)(head, features)), rel=0.1)


def test_inference_mode() -> None:
    with torch.inference_mode():
        inside = make()(head, [part + 0 for part in sample()])
    assert float(inside) == pytest.approx(float(make()(head, sample())))


def test_covariances_of_single_precision_and_of_small_units() -> None:
    X = torch.randn(2, 6, generator=torch_generator("flat", 0))
    FunctionalEntropyRegulariser(
        "information", strength=1.0, covariance=[X.T @ X]
    )  # singular: rounding leaves negative eigenvalues
    with pytest.raises(InvalidInput, match="symmetric"):
        FunctionalEntropyRegulariser("information", strength=1.0, covariance=[[[1e-9, 9e-10], [0.0, 1e-9]]])


def test_no_gradient_where_none_is_wanted() -> None:
    weights = LINEAR.clone().requires_grad_()

    def trained(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=1) @ weights

    assert make()(trained, sample()).requires_grad
    with torch.no_grad():
        value = make()(trained, sample())
    assert not value.requires_grad and value.shape == ()
    assert float(value) == pytest.approx(float(make()(head, sample())))  # a head without parameters: no gradient either
    assert float(make(strength=0.0)(head, sample())) == 0


@pytest.mark.parametrize(("kind", "power"), [("cross_entropy", 4), ("reverse_cross_entropy", 4), ("kl", 2)])
def test_cold_start(kind: str, power: int) -> None:
    """Small logits, of order t: the information is of order t^4, of order t^2 for KL, so 1/I is immense at the start.

    The cross-entropy of p and q is least at q = p, the clean features: its slope there is 0. For the reversed one the
    slope is of order |ln p|, which small logits make of order t as well.
    """
    found = []
    for t in (1e-2, 1e-3):
        found.append(make(divergence=kind, offset=0.0, draws=50).terms(lambda a, b, t=t: t * head(a, b), sample()))
    assert torch.allclose((found[0] / found[1]).log10(), torch.full((2,), float(power)).double(), atol=0.05)


def test_training_balances() -> None:
    """A few steps on the penalty alone: information becomes equal with "balance", large with "information"."""
    features = [part.float() for part in sample(64)]
    start = torch.tensor([[0.1, -0.1], [1.0, -1.0], [1.0, -1.0]])
    results = {}

    def linear(weights: Tensor):
        return lambda a, b: torch.cat([a, b], dim=1) @ weights

    def ruler() -> FunctionalEntropyRegulariser:
        return make(draws=200, divergence="kl")

    for form in FORMS:
        weights, regulariser = start.clone().requires_grad_(), make(form, divergence="kl")
        optimiser = torch.optim.Adam([weights], lr=0.02)
        for _ in range(100):
            loss = regulariser(linear(weights), features)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        results[form] = ruler().terms(linear(weights), features).detach()
    before = ruler().terms(linear(start), features).detach()
    assert float(before[1] / before[0]) > 20
    assert 0.7 < float(results["balance"][1] / results["balance"][0]) < 1.4
    assert float((1 / results["information"]).sum()) < 0.1 * float((1 / before).sum())


ONE = torch.ones(4, 2) * torch.arange(4.0)[:, None]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"form": "entropy"}, "form: expected one of information"),
        ({"strength": -1.0}, "strength"),
        ({"draws": 0}, "draws"),
        ({"form": "variance", "variance": "draws", "draws": 1}, "draws: expected at least 2 .* draw more"),
        ({"divergence": "hinge"}, "divergence"),
        ({"variance": "both"}, "variance"),
        ({"variance_floor": -1.0}, "variance_floor"),
        ({"offset": -1.0}, "offset"),
        ({"covariance": "full"}, "covariance"),
        ({"covariance": [[[1.0, 2.0], [2.0, 1.0]]]}, "positive semidefinite"),
        ({"covariance": [[[1.0, 2.0], [0.0, 1.0]]]}, "symmetric"),
        ({"covariance": [[0.0, 0.0]]}, "positive semidefinite"),
        ({"covariance": [[1.0, float("nan")]]}, "finite"),
        ({"covariance": [[[1.0, 2.0]]]}, r"variances \(d,\)"),
    ],
)
def test_bad_options(options: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        FunctionalEntropyRegulariser(**{"form": "information", "strength": 1.0} | options)


def both(first: Tensor, second: Tensor) -> Tensor:
    return first + second


@pytest.mark.parametrize(
    ("options", "features", "network", "word"),
    [
        ({}, [ONE, torch.ones(4, 2)], both, "modality 1: expected features that vary .* variance_floor"),
        ({}, {"first": ONE, "second": ONE[:1]}, both, r"modality 'second': expected shape \(4, features\)"),
        ({}, [ONE[:1], ONE[:1]], both, "batch: expected at least 2 samples"),
        ({}, [ONE, ONE / 0], both, "modality 1: expected finite"),
        ({}, [ONE, ONE.long()], both, "modality 1: expected a tensor of floats"),
        ({}, [ONE, ONE.numpy()], both, "modality 1: expected a tensor of floats, got ndarray"),
        ({}, [ONE, ONE[:, 0]], both, "modality 1: expected shape"),
        ({}, ONE, both, "features: expected a list or mapping"),
        ({}, [], both, "features: expected a list or mapping"),
        ({}, None, both, "features: expected a list or mapping"),
        ({}, (x for x in (ONE, ONE)), both, "features: expected a list or mapping"),
        ({"form": "balance"}, [ONE], lambda x: x, "features: expected at least two modalities"),
        ({}, [ONE, ONE], lambda a, b: (a + b)[:, :1], "head: expected logits"),
        ({}, [ONE, ONE], lambda a, b: (a + b).mean(), "head: expected logits"),
        ({}, [ONE, ONE], lambda a, b: (a + b)[:2], "head: expected logits"),
        ({}, [ONE, ONE], lambda a, b: a, "information of modality 1: expected a positive number, got 0"),
        ({"form": "balance"}, [ONE, ONE], lambda a, b: torch.ones(len(a), 2), "balance of modality 0: .* got 0"),
        ({}, [ONE, ONE], lambda a, b: (a + b).detach(), "information of modality 0: .* got 0"),
        ({}, [ONE, ONE], lambda a, b: a * float("nan"), "terms: expected finite"),
        ({"covariance": [[1.0, 1.0]]}, [ONE, ONE], both, "covariance: expected modalities"),
        ({"covariance": [[1.0], [1.0]]}, [ONE, ONE], both, "covariance of modality 0: expected 2 features, got 1"),
        ({"covariance": {"a": [1.0, 1.0]}}, {"b": ONE}, lambda b: b, "covariance: expected modalities"),
    ],
)
def test_bad_input(options: dict, features, network, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        FunctionalEntropyRegulariser(**{"form": "information", "strength": 1.0} | options)(network, features)


def test_a_head_with_batch_normalisation_dropout_or_attention() -> None:
    draw = torch_generator("features", 0)
    features = [torch.randn(16, 4, generator=draw), torch.randn(16, 4, generator=draw)]

    def head(body: torch.nn.Module) -> torch.nn.Module:
        class Head(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.out = body, torch.nn.Linear(8, 3)

            def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
                return self.out(self.body(torch.cat([a, b], dim=1)))

        return Head()

    for body in (torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5)):
        network = head(body)
        with pytest.raises(InvalidInput, match=r"network\.eval"):
            make("balance")(network, features)
        assert torch.isfinite(make("balance")(network.eval(), features))

    layer = torch.nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    pair = torch.nn.Linear(4, 3)
    attention = lambda a, b: pair(layer(torch.stack([a, b], dim=1)).mean(dim=1))  # noqa: E731
    make("information", draws=1)(attention, features).backward()
    assert layer.linear1.weight.grad is not None and layer.linear1.weight.grad.isfinite().all()


def test_what_newcomers_do() -> None:
    features = [torch.eye(4), torch.eye(4)]
    with pytest.raises(InvalidInput, match=r"regulariser\(head, features\)"):
        make("balance")(features, torch.nn.Linear(8, 2))
    for covariance in (0.1, torch.eye(4)):
        with pytest.raises(InvalidInput, match="one entry for each modality"):
            make("balance", covariance=covariance)
    with pytest.raises(InvalidInput, match="it belongs to"):
        make("balance", variance="draws")
    with pytest.raises(InvalidInput, match="drop_last"):
        make("balance")(lambda a, b: a[:, :2] + b[:, :2], [torch.ones(1, 4), torch.ones(1, 4)])
    assert make("balance", strength=0.0)(lambda a, b: a[:, :2], features) == 0
