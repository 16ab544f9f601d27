"""A1, AUM of kernel descent in closed form: random problems hold, corrupted logs and kernels are caught."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.estimate import Estimate
from theory.papers.pleiss2020.kernel_descent import A1, check_kernel_descent, experiment_kernel_descent, random_problem
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_holds_for_any_kernel_and_any_step(seed):
    for verdict in check_kernel_descent(**random_problem(np.random.default_rng(seed))):
        assert verdict.status == HOLDS, verdict.explain()


def test_experiment_judges_every_member():
    verdicts = experiment_kernel_descent(seed=5)
    assert {verdict.claim for verdict in verdicts} == set(A1.members)
    assert {verdict.status for verdict in verdicts} == {HOLDS}


@pytest.mark.slow
def test_experiment_at_full_size():
    assert {verdict.status for verdict in experiment_kernel_descent("full")} == {HOLDS}


def problem(**changes):
    rng = np.random.default_rng(2)
    J = rng.standard_normal((6, 4))
    K = J @ J.T
    options = {"K": K, "labels": [0, 1, 1, 0, 1, 0], "step": 0.5 / np.linalg.eigvalsh(K)[-1], "epochs": 12}
    return check_kernel_descent(**options | changes)


def test_measurements_that_are_off_are_caught():
    verdicts = problem()
    for name, member in (("A1.post", "m"), ("A1.null", "m"), ("A1.aum", "A")):
        [row] = [verdict for verdict in verdicts if verdict.claim.id == name]
        estimate = row.inputs[member]
        off = Estimate.computed(np.asarray(estimate.value) + 1e-6, error=1e-9)
        assert judged(verdicts, name) == HOLDS and again(verdicts, name, **{member: off}).status == VIOLATED


def test_the_convention_and_the_step_matter():
    """The log after the step judged as the log before it, and another step size: both are caught."""
    after, before = problem(), problem(convention="pre")
    row = next(verdict for verdict in before if verdict.claim.id == "A1.pre")
    mean = next(verdict for verdict in after if verdict.claim.id == "A1.post").inputs["m"]
    assert row.status == HOLDS and row.claim.check(scale=row.scale, **{**row.inputs, "m": mean}).status == VIOLATED
    assert again(after, "A1.post", eta=1.001 * after[0].inputs["eta"].value).status == VIOLATED
    assert again(after, "A1.post", T=13).status == VIOLATED


def test_a_kernel_that_changes_on_the_way_is_caught():
    """Feature learning is what the identity is not about: a kernel that grows gives another AUM."""
    rng = np.random.default_rng(0)
    J = rng.standard_normal((5, 5))
    K, y, step = J @ J.T, rng.choice([-1.0, 1.0], 5), 0.01
    f, total = np.zeros(5), np.zeros(5)
    for t in range(20):
        f = f - step * (1 + 0.02 * t) * K @ (f - y)
        total += f
    verdicts = problem(K=K, labels=y, step=step, epochs=20, coding="signs", classes=None)
    assert judged(verdicts, "A1.aum") == HOLDS
    moved = Estimate.computed(2 * y * total / 20)
    assert again(verdicts, "A1.aum", A=moved).status == VIOLATED


def test_tensors_and_a_start():
    verdicts = problem(labels=torch.tensor([0, 2, 1, 0, 1, 0]), start=np.full((6, 3), 0.3))
    assert {verdict.status for verdict in verdicts} == {HOLDS}
