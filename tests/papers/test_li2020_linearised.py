"""C7: linearised dynamics."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations, covariance, descent
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020 import linearised
from theory.papers.li2020.linearised import C7, check_finite_width, check_linearised
from theory.papers.li2020.linearised_claims import GAPS, WINDOW
from theory.verdict import Status, Verdicts

TAUS = (0, 1, 7, 40)


def statuses(verdicts: Verdicts) -> dict[str, Status]:
    return {verdict.claim.id: verdict.status for verdict in verdicts}


def data(seed: int, n: int = 5, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n), rng.standard_normal(n)


class TestIdentities:
    @settings(max_examples=15)
    @given(st.integers(0, 10**6), st.sampled_from(activations.names()), st.integers(1, 40), st.floats(0.01, 0.99))
    def test_closed_form_is_descent(self, seed: int, activation: str, width: int, share: float) -> None:
        """Any activation, ReLU too, any width, also fewer weights than examples (K0 singular), any stable step."""
        X, y, truth = data(seed)
        network = TwoLayer.initialise(width, 3, activation, output="random", seed=seed)
        step = share * descent.largest_step(network, X)
        found = statuses(check_linearised(network, X, y, step=step, taus=TAUS, truth=truth))
        assert found == {name: Status.HOLDS for name in ("C7.residual", "C7.error", "C7.distance")}

    def test_any_module(self) -> None:
        torch.manual_seed(1)
        module = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        ).double()
        X, y, truth = data(0)
        step = descent.largest_step(module, X) / 3
        found = statuses(check_linearised(module, X, torch.from_numpy(y), step=step, taus=TAUS, truth=truth))
        assert found == {name: Status.HOLDS for name in ("C7.residual", "C7.error", "C7.distance")}

    def test_the_network_itself_is_not_the_linear_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mutant: the outputs and distances of the nonlinear run in place of the linear model's."""
        X, y, truth = data(3)
        network = TwoLayer.initialise(30, 3, "softplus", seed=3)
        step = descent.largest_step(network, X) / 3
        run = descent.train(network, X, y, step=step, steps=max(TAUS), record=TAUS)
        monkeypatch.setattr(linearised, "_descend_linearly", lambda *_: (run.predictions, run.distance))
        found = statuses(check_linearised(network, X, y, step=step, taus=TAUS, truth=truth))
        assert set(found.values()) == {Status.VIOLATED}

    def test_beyond_the_largest_step_the_closed_form_grows_as_descent_does(self) -> None:
        X, y, _ = data(4)
        network = TwoLayer.initialise(30, 3, "tanh", seed=4)
        step = 1.3 * descent.largest_step(network, X)
        found = statuses(check_linearised(network, X, y, step=step, taus=(1, 5, 12)))
        assert set(found.values()) == {Status.HOLDS}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"taus": (5, 1)},
            {"taus": ()},
            {"taus": (1.5,)},
            {"step": 0.0},
            {"y": [1.0, 2.0]},
            {"truth": [1.0]},
            {"X": [[1.0, float("nan"), 0.0]]},
        ],
    )
    def test_bad_input(self, wrong: dict[str, Any]) -> None:
        X, y, _ = data(0)
        call = {"X": X, "y": y, "step": 0.1, "taus": (1, 2)} | wrong
        with pytest.raises(InvalidInput, match=r"^.*expected .*, got .*; .*$"):
            check_linearised(TwoLayer.initialise(4, 3), **call)


class TestFiniteWidth:
    @settings(max_examples=40)
    @given(st.integers(0, 10**6), st.sampled_from(activations.names()), st.floats(-2, 1.5))
    def test_any_weights(self, seed: int, activation: str, size: float) -> None:
        X, _, _ = data(seed)
        rng = np.random.default_rng(seed)
        network = TwoLayer(rng.standard_normal((4, 3)), rng.standard_normal(4), activation)
        W = network.W.detach().numpy() + 10**size * rng.standard_normal((4, 3))
        status = check_finite_width(network, W, X)[0].status
        assert status == (Status.OUT_OF_SCOPE if activation == "relu" else Status.HOLDS)

    def test_it_is_sharp(self) -> None:
        """One unit that starts where phi'' is largest and moves a little: the ratio tends to 1."""
        network = TwoLayer([[0.0]], [2.0], "softplus")
        verdict = check_finite_width(network, [[1e-2]], [[1.0]])[0]
        assert verdict.status == Status.HOLDS and verdict.tightest > 0.9999

    def test_understated_curvature_is_caught(self) -> None:
        liar = Activation("liar", torch.tanh, gamma1=1.0, gamma2=0.1)
        network = TwoLayer([[0.7, 0.0]], [1.0], liar)
        assert check_finite_width(network, [[1.2, 0.0]], [[1.0, 0.0]])[0].status == Status.VIOLATED

    def test_no_move_is_vacuous_and_modules_are_refused(self) -> None:
        network = TwoLayer.initialise(4, 3, "erf")
        verdict = check_finite_width(network, network.W.detach(), data(0)[0])[0]
        assert verdict.status == Status.VACUOUS
        with pytest.raises(InvalidInput, match="TwoLayer"):
            check_finite_width(torch.nn.Linear(3, 1), np.zeros((4, 3)), data(0)[0])


class TestRates:
    def test_small_experiment(self) -> None:
        verdicts = C7.experiment("small", seed=7)
        assert [v.claim for v in verdicts] == list(C7.members)
        assert not verdicts.unexpected()
        assert {v.status for v in verdicts} == {Status.HOLDS}

    def test_one_network_for_another_is_caught(self) -> None:
        """All-plus output weights do not follow the balanced rate, nor the reverse, nor an odd activation's."""
        widths = np.array([64, 4096])
        slopes = {
            name: Estimate.exponent(
                widths,
                np.array(
                    [[linearised.measure_gap(k, seed=s, **linearised.RUNS[name]) for k in (64, 4096)] for s in range(6)]
                ),
            )
            for name in ("paired", "ones_centred", "ones")
        }
        assert GAPS["ones_centred"].check(p=slopes["ones_centred"]).status == Status.HOLDS
        for measured, claimed in (
            ("ones_centred", "balanced"),
            ("ones_centred", "ones"),
            ("ones", "ones_centred"),
            ("ones", "paired"),
            ("paired", "ones_centred"),
            ("paired", "ones"),
            ("ones_centred", "random"),
            ("ones_centred", "ones_odd"),
        ):
            assert GAPS[claimed].check(p=slopes[measured]).status == Status.VIOLATED, (measured, claimed)

    def test_gap_is_the_distance_between_two_runs(self) -> None:
        X, y, _ = data(5)
        network = TwoLayer.initialise(20, 3, "softplus", seed=5)
        step = descent.largest_step(network, X) / 3
        run = descent.train(network, X, y, step=step, steps=9, record=range(10))
        J = np.asarray(covariance.jacobian(X, network))
        moved, worst, start = np.zeros(J.shape[1]), 0.0, run.predictions[0]
        for tau in range(10):
            outputs = start + J @ moved
            worst = max(worst, float(np.linalg.norm(outputs - run.predictions[tau])))
            moved -= step * J.T @ (outputs - y)
        assert linearised.linearisation_gap(run, X) == pytest.approx(worst, rel=1e-9)
        assert linearised.linearisation_gap(run, torch.from_numpy(X)) == pytest.approx(worst, rel=1e-9)

    def test_the_first_step_of_the_window_does_not_follow_its_last(self) -> None:
        """The start of the window is set by the clusters, not by their radius."""
        radii = np.array([0.2, 0.1, 0.05])
        windows = [[linearised.noisy_window(float(r), seed=s) for r in radii] for s in range(4)]
        ends, starts = ([[getattr(w, end) for w in row] for row in windows] for end in ("last", "first"))
        assert WINDOW.check(a=Estimate.exponent(1 / radii, ends)).status == Status.HOLDS
        assert WINDOW.check(a=Estimate.exponent(1 / radii, starts)).status == Status.VIOLATED

    @pytest.mark.slow
    def test_full_experiment(self) -> None:
        verdicts = C7.experiment("full")
        assert {v.status for v in verdicts} == {Status.HOLDS}
