"""Gradient descent against autograd and an optimiser, against its own reduction, and against plain recomputation."""

import _thread
import copy
import math
import signal
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations, covariance, descent, gradients, spectrum, trajectory
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.networks import TwoLayer

SWISH = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)
EVERY = [*activations.names(), activations.leaky_relu(0.1), SWISH]


def problem(n=7, d=3, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=draw, dtype=torch.float64)
    y = torch.randn(n, generator=draw, dtype=torch.float64)
    return (X / X.norm(dim=1, keepdim=True)).to(dtype), y.to(dtype)


def by_optimiser(network, X, y, step, steps, weights=None):
    """The oracle: autograd and torch.optim.SGD. Returns the losses and the trained copy."""
    network = copy.deepcopy(network)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=step)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = ((1 if weights is None else weights) * (network(X).reshape(-1) - y) ** 2).sum() / 2
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
    return losses, network


def take(steps, count):
    return [now for now, _ in zip(steps, range(count), strict=False)]


@pytest.mark.parametrize("activation", EVERY, ids=lambda a: getattr(a, "name", a))
@pytest.mark.parametrize("paired", [False, True])
def test_closed_form_agrees_with_autograd_and_sgd(activation, paired):
    X, y = problem()
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)
    network = TwoLayer.initialise(150, 3, activation, paired=paired, seed=1)
    losses, trained = by_optimiser(network, X, y, 0.02, 12, weights)
    steps = take(descent.descend(network, X, y, 0.02, weights), 13)
    np.testing.assert_allclose([now.loss for now in steps[:12]], losses, rtol=1e-12)
    torch.testing.assert_close(steps[12].W, trained.W.detach(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(steps[12].residual, trained(X).detach() - y, rtol=1e-12, atol=1e-13)


@settings(max_examples=30)
@given(
    n=st.integers(1, 6),
    d=st.integers(1, 4),
    half=st.integers(1, 9),
    activation=st.sampled_from(EVERY),
    paired=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_one_step_is_the_gradient(n, d, half, activation, paired, seed):
    X, y = problem(n, d, seed)
    network = TwoLayer.initialise(2 * half, d, activation, paired=paired, seed=seed)
    before, after = take(descent.descend(network, X, y, 0.125), 2)
    gradient = covariance.jacobian(X, network).matrix().T @ before.residual
    torch.testing.assert_close(after.W - before.W, -0.125 * gradient.view_as(after.W), rtol=1e-10, atol=1e-13)
    assert before.movement == pytest.approx(0.125 * gradient.norm().item(), rel=1e-12, abs=1e-15)
    assert before.movement == pytest.approx((after.W - before.W).norm().item(), rel=1e-10, abs=1e-13)
    if paired:  # at the start the two halves cancel to the last bit, for every shape
        assert torch.equal(before.residual, -y)


def test_the_network_and_earlier_steps_keep_their_values():
    X, y = problem()
    for paired in (False, True):
        network = TwoLayer.initialise(10, 3, "erf", paired=paired)
        initial = network.W.detach().clone()
        steps, copies = [], []
        for now in take(descent.descend(network, X, y, 0.1), 4):
            steps.append(now)
            copies.append((now.W.clone(), now.residual.clone()))
        assert torch.equal(network.W, initial) and torch.equal(steps[0].W, initial)
        assert all(
            torch.equal(now.W, W) and torch.equal(now.residual, r) for now, (W, r) in zip(steps, copies, strict=True)
        )
        assert not torch.equal(steps[1].W, initial)


def test_a_module_descends_like_sgd_with_its_frozen_parts_frozen():
    X, y = problem()
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    network[0].bias.requires_grad_(False)
    initial = copy.deepcopy(network.state_dict())
    losses, trained = by_optimiser(network, X, y, 0.02, 20)
    result = descent.train(network, X, y, step=0.02, steps=20, record=range(20))
    np.testing.assert_allclose(result.loss[:20], losses, rtol=1e-12)
    for name, value in result.network.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], rtol=1e-12, atol=1e-13)
        assert torch.equal(network.state_dict()[name], initial[name])
        assert torch.equal(result.network0.state_dict()[name], initial[name])
    assert np.isnan(result.distance_op).all() and result.distance[-1] > 0


def test_a_subclass_with_its_own_outputs_is_trained_on_these():
    class Doubled(TwoLayer):
        def forward(self, X):
            return 2 * super().forward(X)

    X, y = problem()
    network = Doubled(*(getattr(TwoLayer.initialise(6, 3), name).detach() for name in ("W", "v")), "softplus")
    losses, _ = by_optimiser(network, X, y, 0.02, 5)
    np.testing.assert_allclose([now.loss for now in take(descent.descend(network, X, y, 0.02), 5)], losses, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_descent_on_n_points_is_weighted_descent_on_K_points(activation):
    centres, means = problem(3)
    clusters = np.repeat([0, 1, 2], [2, 5, 3])
    network = TwoLayer.initialise(64, 3, activation, paired=True)
    spread = np.random.default_rng(0).normal(size=10)
    y = means.numpy()[clusters] + spread - spectrum.support_projection(spread, clusters)  # the same cluster means
    options = {"step": 0.05, "steps": 300, "record": [1, 10, 100]}
    many = descent.train(network, centres[clusters], y, **options)
    few = descent.train(network, centres, means, weights=[2, 5, 3], **options)
    assert np.abs(many.predictions - few.predictions[:, clusters]).max() < 1e-10
    assert (many.network.W - few.network.W).abs().max() < 1e-10
    np.testing.assert_allclose(many.path, few.path, rtol=1e-10)
    unweighted = descent.train(network, centres, means, **options)
    assert np.abs(many.predictions - unweighted.predictions[:, clusters]).max() > 1e-3


def test_measurements_are_what_their_names_say():
    X, _ = problem(8)
    clusters, truth = np.array([0, 0, 0, 1, 1, 1, 2, 2]), np.array([-1.0] * 3 + [1.0] * 3 + [-1.0] * 2)
    y = truth.copy()
    y[[0, 5]] *= -1
    network = TwoLayer.initialise(40, 3, "erf", seed=3)
    options = {"step": 0.3, "steps": 50, "truth": truth, "clusters": clusters}
    result = descent.train(network, X, y, record=range(51), **options)
    steps = take(descent.descend(network, X, y, 0.3), 51)
    W = np.array([now.W.numpy() for now in steps])
    np.testing.assert_array_equal(result.steps, range(51))
    np.testing.assert_allclose(result.distance, [np.linalg.norm(w - W[0]) for w in W], rtol=1e-12)
    np.testing.assert_allclose(result.distance_op, [np.linalg.norm(w - W[0], 2) for w in W], rtol=1e-9, atol=1e-15)
    lengths = np.linalg.norm(np.diff(W, axis=0), axis=(1, 2))
    np.testing.assert_allclose(result.path, [0, *lengths.cumsum()], rtol=1e-10)
    excess = np.diff(result.loss) + lengths**2 / 0.6
    np.testing.assert_allclose(result.worst_decrease, [-np.inf, *np.maximum.accumulate(excess)], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(result.loss, (result.residuals**2).sum(1) / 2, rtol=1e-12)
    np.testing.assert_allclose(result.predictions - y, result.residuals, atol=1e-14)
    near = np.where(result.predictions > 0, 1, -1)
    np.testing.assert_array_equal(result.accuracy_true, (near == truth).mean(1))
    np.testing.assert_array_equal(result.accuracy_observed, (near == y).mean(1))
    support = np.linalg.norm([spectrum.support_projection(r, clusters) for r in result.residuals], axis=1)
    np.testing.assert_allclose(result.residual_support, support, rtol=1e-12)
    np.testing.assert_allclose(
        np.hypot(support, result.residual_nuisance), np.linalg.norm(result.residuals, axis=1), rtol=1e-12
    )
    np.testing.assert_allclose(result.sup_error, np.abs(result.predictions - truth).max(1), rtol=1e-12)
    sparse = descent.train(network, X, y, record=[13, 7], **options)  # what accumulates does so between records too
    assert sparse.steps.tolist() == [0, 7, 13, 50]
    for name in ("path", "worst_decrease", "distance_op", "sup_error"):
        np.testing.assert_array_equal(getattr(sparse, name), getattr(result, name)[sparse.steps])


def test_the_loss_decrease_of_smooth_descent_shows_and_its_failure_too():
    X, y = problem()
    network = TwoLayer.initialise(200, 3, "erf", paired=True)
    stable = descent.largest_step(network, X)
    assert descent.train(network, X, y, step=0.2 * stable, steps=30).worst_decrease[-1] < 0
    assert descent.train(network, X, y, step=0.95 * stable, steps=30).worst_decrease[-1] > 0


def test_largest_step_is_sharp_for_a_linear_model():
    X, y = problem()
    model = torch.nn.Linear(3, 1, bias=False).double()
    for weights in (None, np.arange(1.0, 8.0)):
        limit = descent.largest_step(model, X, weights)
        below = descent.train(model, X, y, step=0.999 * limit, steps=2000, weights=weights)
        assert below.loss[-1] < below.loss[0]
        with pytest.raises(descent.Diverged):
            descent.train(model, X, y, step=1.01 * limit, steps=2000, weights=weights)


@pytest.mark.parametrize("activation, factor", [("relu", 5), ("softplus", 50), ("erf", 1e4)])
def test_divergence_stops_early_names_the_limit_and_keeps_the_results(activation, factor):
    X, y = problem()
    network = TwoLayer.initialise(200, 3, activation, paired=True)
    limit = descent.largest_step(network, X)
    with pytest.raises(descent.Diverged, match=r"2/lambda_max = .* got .* try") as caught:
        descent.train(network, X, y, step=factor * limit, steps=5000, record=range(5000), truth=y)
    message, kept = str(caught.value), caught.value.trajectory
    assert f"{limit:.6g}" in message and f"{factor * limit:.6g}" in message and "\n" not in message
    assert 1 <= len(kept.steps) <= 200 and kept.loss[0] == pytest.approx(float(y @ y) / 2)
    assert kept.steps.tolist() == list(range(len(kept.steps))) and np.isfinite(kept.predictions).all()


def when_it_diverges(network, X, y, step, steps):
    """The rule: the first loss that is a million times the first one, or the hundredth in a row above ten times it."""
    network, above, first = copy.deepcopy(network), 0, None
    for tau in range(steps + 1):
        network.zero_grad()
        loss = ((network(X) - y) ** 2).sum() / 2
        first = max(loss.item(), float(y @ y) / 2) if first is None else first
        above = above + 1 if loss.item() > 10 * first else 0
        if not loss.item() <= 1e6 * first or above >= 100:
            return tau
        loss.backward()
        with torch.no_grad():
            network.W -= step * network.W.grad
    return None


@pytest.mark.parametrize("burst", [1e-9, 1e9])  # seconds: steps one by one, and ten times as many in each burst
@pytest.mark.parametrize(
    "activation, factor", [("relu", 2.5), ("softplus", 50), ("erf", 1e4), ("tanh", 300), ("erf", 1.1)]
)
def test_divergence_is_noticed_at_the_step_of_the_rule(activation, factor, burst, monkeypatch):
    monkeypatch.setattr(gradients, "_BURST", burst)
    X, y = problem()
    network = TwoLayer.initialise(100, 3, activation, paired=True)
    step = factor * descent.largest_step(network, X)
    expected = when_it_diverges(network, X, y, step, 400)
    assert (expected is None) == (factor == 1.1)
    if expected is None:
        assert descent.train(network, X, y, step=step, steps=400, record=[7]).steps[-1] == 400
        return
    with pytest.raises(descent.Diverged, match=f"after {expected} steps"):
        descent.train(network, X, y, step=step, steps=400, record=[2, expected + 1])
    taken = []
    with pytest.raises(descent.Diverged, match=f"after {expected} steps"):
        taken.extend(now.tau for now in descent.descend(network, X, y, step) if taken.append(now.tau))
    assert taken == list(range(expected))


@pytest.mark.parametrize("network", [TwoLayer.initialise(50, 3, "relu"), torch.nn.Linear(3, 1).double()], ids=type)
def test_neither_bursts_nor_recordings_show_in_a_trajectory(network, monkeypatch):
    X, y = problem()
    runs = []
    for burst, record in ((1e-9, range(501)), (1e9, [7, 300]), (1e-3, [499])):
        monkeypatch.setattr(gradients, "_BURST", burst)
        runs.append(descent.train(network, X, y, step=0.05, steps=500, record=record))
    for run in runs[1:]:
        for name in ("loss", "residuals", "path", "worst_decrease", "distance", "distance_op"):
            np.testing.assert_array_equal(getattr(run, name), getattr(runs[0], name)[run.steps])


@pytest.fixture
def interruptible():
    """Ctrl-C raises, even where the tests were started in the background of a script, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_real_interruption_is_noticed_between_bursts(interruptible):
    X, y = problem()
    network = TwoLayer.initialise(2000, 3, "relu", paired=True)
    threading.Timer(0.5, _thread.interrupt_main).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        descent.train(network, X, y, step=1e-3, steps=10**9, record=[5])
    assert caught.value.trajectory.steps.tolist() == [0, 5] and time.monotonic() - started < 20


def test_a_passing_burst_is_not_divergence():
    X, y = problem()
    network = TwoLayer.initialise(200, 3, "erf", paired=True)
    result = descent.train(network, X, y, step=2 * descent.largest_step(network, X), steps=2000, record=range(2000))
    assert result.loss.max() > 2 * result.loss[0] and result.loss[-1] < result.loss[0] / 10


def test_an_interruption_keeps_the_results():
    def interrupt(tau, loss):
        if tau == 20:
            raise KeyboardInterrupt

    X, y = problem()
    with pytest.raises(KeyboardInterrupt) as caught:
        descent.train(TwoLayer.initialise(8, 3), X, y, step=0.1, steps=50, record=[10, 20, 30], progress=interrupt)
    assert caught.value.trajectory.steps.tolist() == [0, 10, 20]


def test_progress_and_schedule():
    X, y = problem()
    seen = []
    network = TwoLayer.initialise(8, 3)
    result = descent.train(network, X, y, step=0.1, steps=1000, record=12, progress=lambda *now: seen.append(now))
    assert seen == list(zip(result.steps.tolist(), result.loss.tolist(), strict=True))
    assert result.steps[0] == 0 and result.steps[-1] == 1000 and len(result.steps) <= 12
    assert (np.diff(result.steps) > 0).all() and result.steps[1] <= 2


def test_kinds_and_precision():
    X, y = problem()
    double = TwoLayer.initialise(30, 3, "tanh", paired=True)
    single = TwoLayer.initialise(30, 3, "tanh", paired=True, dtype=torch.float32)
    of_lists = descent.train(double, X.tolist(), y.tolist(), step=0.1, steps=40)
    of_tensors = descent.train(double, X, y, step=0.1, steps=40)
    np.testing.assert_array_equal(of_lists.predictions, of_tensors.predictions)
    rough = descent.train(single, X, y, step=0.1, steps=40)
    assert rough.network.W.dtype == torch.float32 and rough.loss.dtype == np.float64
    np.testing.assert_allclose(rough.predictions, of_tensors.predictions, atol=1e-5)
    assert not np.array_equal(rough.predictions, of_tensors.predictions)


def test_a_trajectory_is_shown_in_one_line():
    X, y = problem(5)
    network = TwoLayer.initialise(8, 3)
    blind = descent.train(network, X, y, step=0.1, steps=30, record=[2, 9])
    assert isinstance(blind, descent.Trajectory) and isinstance(blind, trajectory.Trajectory)
    assert repr(blind) == (
        f"Trajectory(4 steps recorded, last 30: loss {blind.loss[-1]:.4g}, distance {blind.distance[-1]:.4g})"
    )
    known = descent.train(network, X, -y.sign(), step=0.1, steps=30, truth=y.sign())
    shares = (known.accuracy_true[-1], known.accuracy_observed[-1])
    assert repr(known).endswith("accuracy on true labels {:.4g}, on observed labels {:.4g})".format(*shares))
    assert "\n" not in repr(known)
    observed = descent.train(network, X, y.sign(), step=0.1, steps=30, alphas=[-1, 1])
    assert "true" not in repr(observed) and "accuracy on observed labels" in repr(observed)


def test_summary_best_and_labelled_results():
    X, _ = problem(8)
    truth = np.sign(X[:, 0].numpy())
    y = truth * np.where(np.arange(8) == 3, -1, 1)
    network = TwoLayer.initialise(300, 3, "relu", paired=True)
    step = 0.4 * descent.largest_step(network, X)
    result = descent.train(network, X, y, step=step, steps=3000, record=[5, 50, 500], truth=truth, clusters=truth)
    best = result.best()
    assert best["accuracy_true"] == result.accuracy_true.max()
    assert best["sup_error"] == result.sup_error[result.accuracy_true == best["accuracy_true"]].min()
    table = result.summary(stop=50)
    assert table.index.tolist() == ["best", "stopped", "final"]
    assert table.loc["stopped", "steps"] == 50 and table.loc["final"].to_dict() == result.final()
    data = result.to_xarray()
    np.testing.assert_array_equal(data["residuals"].sel(step=500), result.residuals[3])
    assert data.attrs["step_size"] == step and "best" in result._repr_html_()
    with pytest.raises(InvalidInput, match="nearest is 50"):
        result.at(51)
    blind = descent.train(network, X, y, step=step, steps=3)
    assert math.isnan(blind.final()["accuracy_true"]) and math.isnan(blind.final()["accuracy_observed"])
    assert math.isnan(blind.final()["residual_support"]) and blind.summary().index.tolist() == ["final"]
    with pytest.raises(InvalidInput, match="truth="):
        blind.best()
    known = descent.train(network, X, y, step=step, steps=3, alphas=[1, -1])
    assert 0 <= known.final()["accuracy_observed"] <= 1 and math.isnan(known.final()["accuracy_true"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step": 0.0}, "step: expected .* > 0"),
        ({"step": -1.0}, "step: expected .* > 0"),
        ({"step": math.nan}, "step: expected a finite"),
        ({"steps": 0}, "steps: expected an integer >= 1"),
        ({"X": np.full((7, 3), math.nan)}, "X: expected finite"),
        ({"X": np.ones((7, 4))}, r"X: expected shape \(any, 3\)"),
        ({"X": np.ones(7)}, "X: expected shape"),
        ({"y": np.ones(6)}, r"y: expected shape \(7,\)"),
        ({"y": np.full(7, math.inf)}, "y: expected finite"),
        ({"truth": np.ones(6)}, r"truth: expected shape \(7,\)"),
        ({"clusters": np.zeros(6)}, "expected"),
        ({"clusters": np.full(7, 0.5)}, "clusters: expected whole"),
        ({"alphas": np.ones((2, 2))}, "alphas: expected shape"),
        ({"weights": np.zeros(7)}, "weights: expected entries > 0"),
        ({"weights": np.ones(6)}, r"weights: expected shape \(7,\)"),
        ({"record": [5, 11]}, "record: expected an integer in"),
        ({"record": 1}, "record: expected an integer >= 2"),
        ({"network": torch.nn.Linear(3, 2).double()}, "network: expected one real output"),
        ({"network": torch.nn.Tanh()}, "network: expected a trainable parameter"),
    ],
)
def test_bad_input_is_refused_before_any_step(change, message):
    X, y = problem()
    arguments = {"network": TwoLayer.initialise(8, 3), "X": X, "y": y, "step": 0.1, "steps": 10} | change
    called = []
    with pytest.raises(InvalidInput, match=message):
        descent.train(**arguments, progress=lambda *now: called.append(now))
    assert not called


def test_descend_refuses_at_once_and_not_at_the_first_step():
    X, y = problem()
    with pytest.raises(InvalidInput, match="step"):
        descent.descend(TwoLayer.initialise(8, 3), X, y, -0.1)
