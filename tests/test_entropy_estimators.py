"""Estimators of entropy, variance and information: closed forms inside their intervals, honest cover, clear errors."""

import numpy as np
import pytest
import torch
from scipy import stats

import theory
from theory import seeding
from theory.checks import InvalidInput
from theory.entropy import (
    Evaluations,
    Gaussian,
    Sampler,
    entropy,
    evaluate,
    fisher_information,
    log_sobolev_bound,
    poincare_bound,
    tensorization,
    variance,
)
from theory.entropy.evaluations import bregman

LINE = Gaussian.standard(1)
MEAN, COVARIANCE = np.array([0.3, -0.2, 0.1]), np.array([[0.5, 0.2, 0.1], [0.2, 0.4, -0.1], [0.1, -0.1, 0.3]])
SLOPE = np.array([0.6, -0.4, 0.5])
POWER = SLOPE @ COVARIANCE @ SLOPE
EXPONENTIAL = POWER / 2 * np.exp(SLOPE @ MEAN + POWER / 2)


def exponential(x):
    return torch.exp(x @ torch.tensor(SLOPE)) if isinstance(x, torch.Tensor) else np.exp(x @ SLOPE)


def torch_gaussian(mean=MEAN, covariance=COVARIANCE, dtype=torch.float64):
    return Gaussian(torch.tensor(np.asarray(mean), dtype=dtype), torch.tensor(np.asarray(covariance), dtype=dtype))


JOINT = 1 - 0.01 / 54
"""All 54 intervals of the first test hold together at 99% (Bonferroni)."""


def within(estimate, truth, level=JOINT):
    low, high = estimate.interval(level)
    return low <= truth <= high


@pytest.mark.parametrize("method", ["plain", "antithetic", "quasi"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exponential_of_a_linear_function_meets_its_bound(method, seed):
    how = {"draws": 2**14, "method": method, "seed": seed}
    found = evaluate(exponential, torch_gaussian(), gradients=True, **how)
    assert within(found.entropy(), EXPONENTIAL)
    assert within(found.log_sobolev_bound(), EXPONENTIAL)
    assert within(found.fisher_information(), 2 * EXPONENTIAL)
    unweighted = SLOPE @ SLOPE * np.exp(SLOPE @ MEAN + POWER / 2)
    assert within(found.fisher_information(weighted=False), unweighted)
    square = np.exp(2 * (SLOPE @ MEAN + POWER))
    assert within(found.variance(), square - np.exp(2 * SLOPE @ MEAN + POWER))
    assert within(found.poincare_bound(), POWER * square)
    assert within(found.entropy(normalised=True), POWER / 2)
    assert found.log_sobolev_bound(normalised=True).value == pytest.approx(POWER / 2, rel=1e-12)


def test_numpy_and_torch_agree_and_logarithms_change_nothing():
    how = {"draws": 500, "seed": 3}
    gradient = lambda x: exponential(x)[:, None] * SLOPE  # noqa: E731
    ours = [
        evaluate(exponential, torch_gaussian(), gradients=True, **how),
        evaluate(exponential, Gaussian(MEAN, COVARIANCE), gradient=gradient, **how),
        evaluate(lambda x: x @ torch.tensor(SLOPE), torch_gaussian(), gradients=True, log=True, **how),
        evaluate(lambda x: x @ SLOPE, Gaussian(MEAN, COVARIANCE), gradient=lambda x: 0 * x + SLOPE, log=True, **how),
    ]
    for name in ("entropy", "variance", "fisher_information", "log_sobolev_bound", "poincare_bound"):
        first, *others = (getattr(one, name)() for one in ours)
        for other in others:
            assert other.value == pytest.approx(first.value, rel=1e-12), name
            assert other.parameters["error"] == pytest.approx(first.parameters["error"], rel=1e-9), name


def test_logarithms_do_not_overflow():
    steep = Gaussian.standard(2)
    found = evaluate(lambda x: 5000 + 0.5 * x[:, 0], steep, gradient=lambda x: 0 * x + [0.5, 0], log=True, draws=4000)
    assert within(found.entropy(normalised=True), 0.125)
    assert found.log_sobolev_bound(normalised=True).value == pytest.approx(0.125, rel=1e-12)
    with pytest.raises(InvalidInput, match="normalised=True"):
        found.entropy()
    with pytest.raises(InvalidInput, match="draws or more that count"):
        entropy(lambda x: 1000 * x[:, 0], steep, log=True, normalised=True)


def test_small_entropies_do_not_cancel():
    """Ent(1 + t x) is t^2/2 to leading order, at t = 1e-7 far below the rounding error of E f ln f."""
    found = entropy(lambda x: 1 + 1e-7 * np.tanh(x[:, 0]), LINE, order=200)
    second = variance(lambda x: np.tanh(x[:, 0]), LINE, order=200)
    assert found.value == pytest.approx(second.value * 1e-14 / 2, rel=1e-6)
    x = np.array([-1.0, -0.5, 0.0, 1e-8, 9.999e-4, 1.0001e-3, 3.0])
    exact = [1.0, 0.5 - 0.5 * np.log(2), 0, 5e-17, 9.999e-4**2 / 2 * (1 - 9.999e-4 / 3), None, 4 * np.log(4) - 3]
    for ours, truth in zip(bregman(x), exact, strict=True):
        assert truth is None or ours == pytest.approx(truth, rel=1e-6)
    assert np.diff(bregman(np.linspace(9.9e-4, 1.01e-3, 101))).min() > 0  # no step where the series ends


def test_the_jackknife_of_the_variance_is_the_unbiased_variance():
    x = np.random.default_rng(0).normal(size=(3, 50)) ** 2
    np.testing.assert_allclose(Evaluations(x).variance().value, x.var(axis=1, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(Evaluations(x).variance(corrected=False).value, x.var(axis=1), rtol=1e-12)


def test_the_jackknife_by_leaving_out_one_draw_after_the_other():
    x = np.random.default_rng(1).gamma(2.0, size=12)
    plain = lambda f: (f * np.log(f)).mean() - f.mean() * np.log(f.mean())  # noqa: E731
    pseudo = [12 * plain(x) - 11 * plain(np.delete(x, i)) for i in range(12)]
    ours = Evaluations(x).entropy()
    assert ours.value == pytest.approx(np.mean(pseudo), rel=1e-12)
    assert ours.parameters["error"] == pytest.approx(np.std(pseudo, ddof=1) / np.sqrt(12), rel=1e-12)
    assert Evaluations(x).entropy(corrected=False).value == pytest.approx(plain(x), rel=1e-12)


def test_the_correction_removes_the_bias_of_the_plug_in():
    z = seeding.numpy_generator("bias of the plug-in", 0).normal(size=(40_000, 20))
    f = np.cosh(z / 2)
    truth = float(entropy(lambda x: np.cosh(x[:, 0] / 2), LINE, order=100).value)
    raw, corrected = (Evaluations(f).entropy(corrected=c).value for c in (False, True))
    first_order = f.var() / (2 * 20 * f.mean())
    error = raw.std() / np.sqrt(len(z))
    assert raw.mean() - truth == pytest.approx(-first_order, rel=0.15)
    assert abs(raw.mean() - truth) > 10 * error
    assert abs(corrected.mean() - truth) < 0.1 * first_order + 3 * error


COVERED = {
    "exp(z/2)": (lambda z: np.exp(z / 2), 0.125 * np.exp(0.125), np.exp(0.5) - np.exp(0.25)),
    "1 + sin(z)/2": (lambda z: 1 + np.sin(z) / 2, None, (1 - np.exp(-2)) / 8),
    "cosh(z/2)": (lambda z: np.cosh(z / 2), None, (np.exp(0.5) + 1) / 2 - np.exp(0.25)),
}
FEWEST = stats.binom.ppf(1e-4, 1000, 0.95)
"""Of 1,000 intervals; a true cover of 90% comes below it with probability 99%."""


def test_the_cover_test_would_catch_ninety_percent():
    assert stats.binom.cdf(FEWEST - 1, 1000, 0.90) > 0.99


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("method", ["plain", "antithetic"])
def test_intervals_cover_at_their_level(name, method):
    f, Ent, Var = COVERED[name]
    Ent = float(entropy(lambda x: f(x[:, 0]), LINE, order=200).value) if Ent is None else Ent
    draws = 2000 if method == "plain" else 4000  # as many independent units
    z = LINE.sample(1000 * draws, seed=5, method=method).reshape(1000, draws)
    found = Evaluations(f(z), group=1 if method == "plain" else 2)
    for estimate, truth in ((found.entropy(), Ent), (found.variance(), Var), (found.entropy(corrected=False), Ent)):
        low, high = estimate.interval(0.95)
        assert ((low <= truth) & (truth <= high)).sum() >= FEWEST
        low, high = estimate.interval(0.90)  # the test's power: the same intervals at 90% fail it
        assert ((low <= truth) & (truth <= high)).sum() < FEWEST


def test_information_and_quasi_draws_cover_too():
    slope = 0.5
    bound = slope**2 / 2 * np.exp(slope**2 / 2)
    z = LINE.sample(1000 * 1000, seed=6).reshape(1000, 1000)
    f = np.exp(slope * z)
    low, high = Evaluations(f, gradients=slope * f[..., None]).log_sobolev_bound().interval(0.95)
    assert ((low <= bound) & (bound <= high)).sum() >= FEWEST
    quasi = [entropy(lambda x: np.exp(slope * x[:, 0]), LINE, draws=1024, method="quasi", seed=s) for s in range(300)]
    hits = sum(within(one, bound, 0.95) for one in quasi)
    assert hits >= stats.binom.ppf(1e-4, 300, 0.95)
    assert np.std([one.value for one in quasi]) < 0.5 * f.std() / 32  # and they are narrower than plain ones


def test_the_bootstrap_agrees_with_the_delta_method_and_covers():
    f = COVERED["exp(z/2)"][0]
    truth = COVERED["exp(z/2)"][1]
    hits = 0
    for seed in range(100):
        found = Evaluations(f(LINE.sample(400, seed=seed))[:, 0])
        low, high = found.bootstrap("entropy", 0.95, resamples=400, seed=seed)
        hits += low <= truth <= high
    assert hits >= stats.binom.ppf(1e-4, 100, 0.95)
    large = Evaluations(f(LINE.sample(20_000))[:, 0])
    np.testing.assert_allclose(large.bootstrap("entropy", 0.95), large.entropy().interval(0.95), rtol=0.03)


def test_the_bootstrap_is_that_of_scipy():
    """BCa on few skewed draws, where bias correction and acceleration move the ends."""
    f = np.random.default_rng(5).gamma(0.5, size=40)

    def plug_in(x, axis):
        return (x * np.log(x)).mean(axis=axis) - x.mean(axis=axis) * np.log(x.mean(axis=axis))

    theirs = stats.bootstrap((f,), plug_in, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0))
    ours = Evaluations(f).bootstrap("entropy", 0.95, resamples=20_000)
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=0.03)


def test_heavy_tails_cost_degrees_of_freedom():
    z = np.random.default_rng(6).normal(size=2000)
    assert Evaluations(1 + np.tanh(z) / 2).variance().parameters["freedom"] > 1000
    assert Evaluations(np.exp(2 * z)).variance().parameters["freedom"] < 20


def test_running_intervals_hold_all_together():
    f = COVERED["1 + sin(z)/2"][0]
    truth = float(entropy(lambda x: f(x[:, 0]), LINE, order=200).value)
    runs, kept, single = 150, 0, 0
    for seed in range(runs):
        values = f(LINE.sample(3000, seed=seed))[:, 0]
        looks, low, high = Evaluations(values).running(points=12)
        kept += bool(((low <= truth) & (truth <= high)).all())
        # intervals for one look do not hold at all twelve: the test would notice
        ends = [Evaluations(values[:look]).entropy().interval(0.95) for look in looks]
        single += all(low <= truth <= high for low, high in ends)
    assert looks[0] == 100 and looks[-1] == 3000
    print(f"all looks: {kept} of {runs}; with intervals for one look {single}")
    assert kept >= stats.binom.ppf(1e-4, runs, 0.95)
    assert single < stats.binom.ppf(1e-4, runs, 0.95)
    pairs = evaluate(lambda x: f(x[:, 0]), LINE, draws=1000, method="antithetic").running("variance", first=50)
    assert pairs[0][-1] == 500


def test_singular_covariance():
    flat = Gaussian([1.0, 2.0], [[1.0, 1.0], [1.0, 1.0]])
    x = flat.sample(100)
    np.testing.assert_allclose(x[:, 0] - x[:, 1], -1.0, atol=1e-12)
    f = lambda x: np.exp(0.5 * x[:, 0] - 0.1 * x[:, 1])  # noqa: E731
    gradient = lambda x: f(x)[:, None] * [0.5, -0.1]  # noqa: E731
    assert entropy(f, flat, order=64).value == pytest.approx(0.08 * np.exp(0.3 + 0.08), rel=1e-12)
    assert log_sobolev_bound(f, flat, order=64, gradient=gradient).value == pytest.approx(
        0.08 * np.exp(0.38), rel=1e-12
    )
    point = Gaussian([1.0], [[0.0]])
    assert entropy(lambda x: np.exp(x[:, 0]), point, draws=10).value == 0
    assert variance(lambda x: x[:, 0], point, order=3).value == 0


def test_samplers():
    signs = Sampler(lambda number, generator: generator.choice([-1.0, 1.0], size=(number, 1)), dimension=1)
    f = lambda x: 1 + np.sin(np.pi * x[:, 0] / 2) / 2  # noqa: E731
    slope = lambda x: np.pi / 4 * np.cos(np.pi * x / 2)  # noqa: E731
    assert within(entropy(f, signs), 0.130812)
    assert fisher_information(f, signs, gradient=slope).value < 1e-30  # the two-point measure: no gradient sees it


def test_antithetic_and_quasi_draws_are_gaussian():
    measure = Gaussian(MEAN, COVARIANCE)
    for method in ("antithetic", "quasi"):
        x = measure.sample(2**15, seed=1, method=method)
        np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.02)
        np.testing.assert_allclose(x.mean(axis=0), MEAN, atol=1e-3)
    x = measure.sample(10, method="antithetic")
    np.testing.assert_allclose(x[0::2] + x[1::2], np.tile(2 * MEAN, (5, 1)), atol=1e-12)


def test_networks_in_single_precision():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1), torch.nn.Softplus())
    measure = torch_gaussian(dtype=torch.float32)
    with torch.no_grad():  # callers may sit inside one
        found = evaluate(lambda x: network(x)[:, 0], measure, gradients=True, draws=4096)
    assert found.entropy().value < found.log_sobolev_bound().value
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("size", [1e-200, 1e-12, 1e100])
def test_units_of_f_do_not_matter(size):
    """Squares of tiny or huge values neither vanish nor overflow, and errors scale along."""
    for how in ({"order": 100}, {"draws": 1000}):
        f, slope = (lambda x: 1 + x[:, 0] ** 2), (lambda x: 2 * x)
        one = evaluate(f, LINE, gradient=slope, **how)
        other = evaluate(lambda x: size * f(x), LINE, gradient=lambda x: size * slope(x), **how)  # noqa: B023
        for name, power in (("entropy", 1), ("log_sobolev_bound", 1), ("variance", 2), ("poincare_bound", 2)):
            if abs(power * np.log10(size)) < 300:
                ends = [np.array(getattr(found, name)().interval()) for found in (one, other)]
                np.testing.assert_allclose(ends[1] / size**power, ends[0], rtol=1e-9, err_msg=name)
    assert np.diff(evaluate(lambda x: size * x[:, 0], LINE, order=9).variance().interval()) <= 1e-11 * size**2


def test_coordinates_in_other_units_keep_their_variance():
    """A coordinate is not rounding because another one is measured in small units."""
    wide = Gaussian([0.0, 0.0], np.diag([1e12, 1e-6]))
    f, slope = (lambda x: 1e3 * x[:, 1]), (lambda x: 0 * x + [0, 1e3])
    assert wide.root.shape == (2, 2)
    found = evaluate(f, wide, gradient=slope, order=8)
    assert found.variance().value == pytest.approx(1) == found.poincare_bound().value
    S = np.array([[1e12, 0.6], [0.6, 1e-12]])  # correlation .6
    np.testing.assert_allclose(Gaussian([0.0, 0.0], S).root @ Gaussian([0.0, 0.0], S).root.T, S, rtol=1e-12)
    with pytest.raises(InvalidInput, match="positive semidefinite"):
        Gaussian([0.0, 0.0], [[1e12, 2.0], [2.0, 1e-12]])


def test_inference_mode_and_a_function_that_ignores_its_input():
    with torch.inference_mode():
        found = evaluate(exponential, torch_gaussian(), gradients=True, draws=100)
    assert found.log_sobolev_bound(normalised=True).value == pytest.approx(POWER / 2, rel=1e-12)
    weight = torch.ones(1, requires_grad=True)
    assert poincare_bound(lambda x: weight.expand(len(x)), torch_gaussian()).value == 0


BATCHED = torch.nn.BatchNorm1d(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy(lambda x: x[:, 0], LINE), "f >= 0"),
        (
            lambda: entropy(lambda x: 3.5 - x[:, 0], LINE),
            "f >= 0",
        ),
        (lambda: entropy(lambda x: 0 * x[:, 0], LINE), "0 at every point"),
        (lambda: fisher_information(lambda x: 0 * x[:, 0], LINE, gradient=lambda x: 0 * x), "0 at every point"),
        (
            lambda: fisher_information(lambda x: np.maximum(x[:, 0], 0), LINE, gradient=lambda x: 1 + 0 * x),
            "zero gradient",
        ),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "positive semidefinite"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: Gaussian([0.0], [[1.0, 0.0], [0.0, 1.0]]), "covariance"),
        (lambda: Gaussian([np.nan], [[1.0]]), "NaN"),
        (lambda: Gaussian.standard(0), "dimension"),
        (lambda: entropy(lambda x: x[:, 0] ** 2, LINE, draws=1), "draws"),
        (lambda: entropy(lambda x: x[:, 0] ** 2, LINE, draws=3, method="antithetic"), "even"),
        (lambda: entropy(lambda x: x[:, 0] ** 2, LINE, draws=1000, method="quasi"), "power of two"),
        (lambda: entropy(lambda x: x[:, 0] ** 2, LINE, method="sobol"), "method"),
        (lambda: entropy(lambda x: np.full(len(x), np.nan), LINE), "NaN"),
        (lambda: variance(lambda x: x, LINE), "one value per row"),
        (lambda: variance(3.0, LINE), "function"),
        (lambda: poincare_bound(lambda x: x[:, 0], LINE), "gradient="),
        (lambda: poincare_bound(lambda x: x[:, 0], LINE, gradient=lambda x: x[:, 0]), "one gradient per row"),
        (lambda: poincare_bound(lambda x: torch.ones(len(x)), torch_gaussian()), "autograd"),
        (lambda: variance(lambda x: BATCHED(x)[:, 0], torch_gaussian(dtype=torch.float32)), "own row only"),
        (lambda: variance(lambda x: x[:, 0], Gaussian.standard(3), order=8), "at most 2"),
        (lambda: Sampler(3, 1), "function"),
        (lambda: entropy(lambda x: x[:, 0], Sampler(lambda n, g: g.random((n, 2)), 1)), "one row per draw"),
        (
            lambda: entropy(lambda x: x[:, 0], Sampler(lambda n, g: g.random((n, 1)), 1), order=5),
            "Gaussian for quadrature",
        ),
        (lambda: entropy(lambda x: x[:, 0], Sampler(lambda n, g: g.random((n, 1)), 1), method="quasi"), "plain"),
        (lambda: Evaluations(np.array([1.0, 2.0])).fisher_information(), "gradients"),
        (lambda: Evaluations(np.array([1.0])).entropy(), "that count|2 independent"),
        (lambda: Evaluations(np.array([1.0, 2.0])).bootstrap(), "10 independent"),
        (lambda: Evaluations(np.ones((2, 20))).bootstrap(), "one set of draws"),
        (lambda: Evaluations(np.ones(20)).running(), "at least 100"),
        (lambda: Evaluations(np.ones(3), np.ones((2, 4))).fisher_information(), "gradients: expected shape"),
        (lambda: Evaluations(np.ones(3), weights=np.ones(2)), "weights: expected shape"),
        (lambda: Evaluations(np.ones(3), group=2), "group: expected a divisor"),
        (lambda: Evaluations(np.array([1e200, 3e200])).variance(), "divide f by a constant"),
        (lambda: Evaluations(np.array([1e308, 1.7e308])).entropy(), "overflow"),
        (lambda: Evaluations(np.eye(20)[0]).bootstrap(normalised=True), "that count"),
        (lambda: Evaluations(np.eye(20)[:2].sum(axis=0)).bootstrap(normalised=True), "draws that count"),
        (lambda: Evaluations(np.ones(200)).running("median"), "statistic"),
        (lambda: variance(lambda x: x[:, 0].numpy(), torch_gaussian()), "tensor for tensors"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


def test_bad_functions_are_refused_before_long_work():
    seen = []

    def negative(x):
        seen.append(len(x))
        return x[:, 0]

    with pytest.raises(InvalidInput):
        entropy(negative, LINE, draws=2**18)
    assert sum(seen) <= 64


def test_a_step_seen_by_even_rules_alone_is_no_certainty():
    for order in (12, 20, 30):
        found = entropy(lambda x: (x[:, 0] > 0.3) * 1.0, LINE, order=order)
        low, high = found.interval(0.99)
        assert low < 0.367608 < high and high - low > 1e-3


def test_a_wrong_gradient_is_refused_and_blocks_are_explained():
    with pytest.raises(InvalidInput, match="gradient: expected the gradient of f"):
        log_sobolev_bound(lambda x: 1 + x[:, 0] ** 2, LINE, gradient=lambda x: 7 * x, order=20)
    with pytest.raises(InvalidInput, match="range"):
        tensorization(lambda x: 1 + x[:, 0] ** 2, Gaussian.standard(2), blocks=[slice(0, 1), slice(1, 2)])
    assert "closed_forms" in dir(theory.entropy) and theory.entropy.closed_forms
