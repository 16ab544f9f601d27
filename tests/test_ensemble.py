"""Many runs against each of them alone, to the last bit; failures of some; interruptions."""

import threading
import time

import numpy as np
import pytest
import torch

from theory import descent, ensemble, gradients
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.kernels import compiling
from theory.networks import TwoLayer

FIELDS = ("steps", "loss", "residuals", "distance", "distance_op", "path", "worst_decrease", "accuracy_true")
SWISH = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)


def problem(seed=0, n=9, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) / d**0.5, np.sign(rng.normal(size=n))


def equal(run, other):
    same = all(np.array_equal(getattr(run, name), getattr(other, name), equal_nan=True) for name in FIELDS)
    pairs = zip(run.network.parameters(), other.network.parameters(), strict=True)
    return same and run.step == other.step and all(torch.equal(p, q) for p, q in pairs)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_run_is_the_one_alone_to_the_last_bit(threads):
    X, y = problem()
    networks = [TwoLayer.initialise(30 + 2 * s, 3, "relu", paired=s % 2 == 0, seed=s) for s in range(7)]
    options = {"steps": 300, "record": [3, 50], "truth": y}
    runs = ensemble.train_many(networks, X, y, step=0.1, **options)
    for run, network in zip(runs, networks, strict=True):
        assert equal(run, descent.train(network, X, y, step=0.1, **options))
    backwards = ensemble.train_many(networks[::-1], X, y, step=0.1, **options)
    assert all(map(equal, runs, backwards[::-1]))


def test_lists_belong_to_the_runs_and_arrays_to_all(threads):
    problems = [problem(seed, n) for seed, n in ((0, 9), (1, 5), (2, 12))]
    networks = [TwoLayer.initialise(20, 3, name, seed=2) for name in ("softplus", "gelu")]
    networks.append(torch.nn.Linear(3, 1).double())
    Xs, ys = map(list, zip(*problems, strict=True))
    steps, weights = [0.1, 0.05, 0.01], [np.ones(9), None, np.arange(1.0, 13.0)]
    options = {"steps": 40, "alphas": np.array([-1.0, 1.0])}
    runs = ensemble.train_many(networks, Xs, ys, step=steps, weights=weights, truth=ys, **options)
    for i, run in enumerate(runs):
        given = {"step": steps[i], "weights": weights[i], "truth": ys[i]}
        assert equal(run, descent.train(networks[i], Xs[i], ys[i], **given, **options))
    X, y = problems[0]
    for run, network in zip(ensemble.train_many(networks, X, ys[:1] * 3, step=0.01, steps=5), networks, strict=True):
        assert equal(run, descent.train(network, X, y, step=0.01, steps=5))


def test_engines_of_torch_take_part():
    X, y = problem()
    networks = [TwoLayer.initialise(20, 3, SWISH), TwoLayer.initialise(20, 3, "relu")]
    runs = ensemble.train_many(networks, X, y, step=0.1, steps=20)
    assert all(
        equal(run, descent.train(net, X, y, step=0.1, steps=20)) for run, net in zip(runs, networks, strict=True)
    )


def test_inputs_in_common_are_converted_once(monkeypatch):
    X, y = problem()
    seen, engine = [], gradients.engine
    monkeypatch.setattr(gradients, "engine", lambda network, X, *rest: seen.append(X) or engine(network, X, *rest))
    networks = [TwoLayer.initialise(4, 3, dtype=dtype) for dtype in (torch.float32, torch.float32, torch.float64)]
    ensemble.train_many(networks, X, y, step=0.1, steps=2)
    pointers = {(tensor.data_ptr(), tensor.dtype) for tensor in seen}
    assert len(seen) == 3 and len(pointers) == 2


def test_a_run_that_diverges_takes_no_other_with_it(threads):
    X, y = problem()
    networks = [TwoLayer.initialise(40, 3, "relu", paired=True, seed=s) for s in range(4)]
    steps = [0.1, 500.0, 0.1, 1e9]
    ended = {}
    with pytest.raises(ensemble.SomeDiverged, match=r"run 1: step: .* 2/lambda_max .*; likewise runs 3$") as caught:
        ensemble.train_many(networks, X, y, step=steps, steps=200, record=range(201), progress=ended.setdefault)
    failure = caught.value
    assert isinstance(failure, descent.Diverged) and list(failure.diverged) == [1, 3]
    assert sorted(ended) == [0, 1, 2, 3]
    for i in range(4):
        if i in failure.diverged:
            with pytest.raises(descent.Diverged) as alone:
                descent.train(networks[i], X, y, step=steps[i], steps=200, record=range(201))
            assert str(alone.value) == str(failure.diverged[i]) and ended[i] is failure.diverged[i]
            assert equal(failure.trajectories[i], alone.value.trajectory)
        else:
            assert equal(
                failure.trajectories[i], descent.train(networks[i], X, y, step=0.1, steps=200, record=range(201))
            )
            assert ended[i] is failure.trajectories[i]


def test_an_interruption_keeps_what_there_is(threads):
    X, y = problem()
    networks = [TwoLayer.initialise(20, 3, "relu", seed=s) for s in range(4)]
    weights = [None, None, None, np.full(9, 1e-9)]
    done = threading.Event()

    def interrupt(number, outcome):
        done.set()
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        ensemble.train_many(
            networks, X, y, step=0.01, steps=10**5, record=[10, 100], weights=weights, progress=interrupt
        )
    kept = caught.value.trajectories
    assert done.is_set() and len(kept) == 4 and time.monotonic() - started < 60
    whole = [run for run in kept if run is not None and run.steps[-1] == 10**5]
    assert whole and any(run is not None and equal(run, whole[0]) for run in kept)
    assert all(run is None or run.steps[0] == 0 for run in kept)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step": [0.1, 0.1]}, "step: expected a list of 3, got one of 2"),
        ({"step": [0.1, 0.1, -1]}, "run 2: step: expected"),
        ({"X": [np.ones((9, 3)), np.ones((9, 2)), np.ones((9, 3))]}, "run 1: X: expected shape"),
        ({"y": np.ones(8)}, "run 0: y: expected shape"),
        ({"truth": [np.ones(9), np.ones(9), np.ones(8)]}, "run 2: truth: expected shape"),
        ({"steps": 0}, "^steps: expected an integer"),
        ({"record": [99]}, "^record: expected an integer"),
    ],
)
def test_bad_input_is_refused_before_any_step(change, message, monkeypatch):
    X, y = problem()
    monkeypatch.setattr(gradients, "engine", lambda *arguments: pytest.fail("a run was started"))
    arguments = {"X": X, "y": y, "step": 0.1, "steps": 10} | change
    with pytest.raises(InvalidInput, match=message):
        ensemble.train_many([TwoLayer.initialise(4, 3)] * 3, **arguments)


def test_a_module_of_many_outputs_is_refused():
    X, y = problem()
    with pytest.raises(InvalidInput, match="one real output"):
        ensemble.train_many([TwoLayer.initialise(4, 3), torch.nn.Linear(3, 2).double()], X, y, step=0.1, steps=3)


class Together:
    """What an engine of many runs on a GPU does, by engines on the CPU."""

    def __init__(self, cells):
        self.engines = [gradients.engine(cell.network, *cell.tensors, cell.step) for cell in cells]

    @property
    def residual(self):
        return torch.stack([engine.residual for engine in self.engines])

    @property
    def loss(self):
        return np.array([engine.loss for engine in self.engines])

    def advance(self, steps):
        losses, moves = zip(*(engine.advance(steps) for engine in self.engines), strict=True)
        return np.stack(losses, 1), np.stack(moves, 1)

    def weights(self):
        return torch.stack([engine.weights() for engine in self.engines])


@pytest.fixture
def grouped(monkeypatch):
    monkeypatch.setattr(ensemble, "_groups", lambda cells: [cells[1:]])
    monkeypatch.setattr(ensemble, "_ensemble", Together)


def test_runs_in_one_engine_are_those_alone(grouped):
    X, y = problem()
    networks = [TwoLayer.initialise(20, 3, "erf", seed=s) for s in range(4)]
    runs = ensemble.train_many(networks, X, y, step=[0.1, 0.2, 0.1, 0.1], steps=70, truth=y)
    for i, run in enumerate(runs):
        assert equal(run, descent.train(networks[i], X, y, step=0.2 if i == 1 else 0.1, steps=70, truth=y))


@pytest.mark.filterwarnings("ignore:overflow")
def test_in_one_engine_too_a_run_may_diverge(grouped):
    X, y = problem()
    networks = [TwoLayer.initialise(20, 3, "relu", seed=s) for s in range(4)]
    with pytest.raises(ensemble.SomeDiverged) as caught:
        ensemble.train_many(networks, X, y, step=[0.1, 0.1, 1e5, 0.1], steps=70, record=range(71))
    assert list(caught.value.diverged) == [2]
    for i in (0, 1, 3):
        alone = descent.train(networks[i], X, y, step=0.1, steps=70, record=range(71))
        assert equal(caught.value.trajectories[i], alone)
    with pytest.raises(descent.Diverged) as alone:
        descent.train(networks[2], X, y, step=1e5, steps=70, record=range(71))
    assert equal(caught.value.trajectories[2], alone.value.trajectory)


def test_an_interruption_of_one_engine_keeps_all_its_runs(grouped, monkeypatch):
    X, y = problem()
    networks = [TwoLayer.initialise(20, 3, "relu", seed=s) for s in range(4)]
    advance = Together.advance

    def interrupted(self, steps):
        if self.engines[0].loss < 0.5 * start:
            raise KeyboardInterrupt
        return advance(self, steps)

    start = descent.train(networks[1], X, y, step=0.1, steps=1).loss[0]
    monkeypatch.setattr(Together, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        ensemble.train_many(networks, X, y, step=0.1, steps=10**4, record=range(0, 10**4, 2))
    kept = caught.value.trajectories
    assert kept[0] is None and all(len(run.steps) > 2 for run in kept[1:])


@pytest.mark.skipif(not compiling.available(), reason="numba is not installed")
def test_compiled_runs_go_side_by_side():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    names = set()
    engine = gradients.engine

    def noted(*arguments):
        names.add(threading.current_thread().name)
        time.sleep(0.05)
        return engine(*arguments)

    X, y = problem()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gradients, "engine", noted)
            ensemble.train_many([TwoLayer.initialise(4, 3, "relu")] * 4, X, y, step=0.1, steps=3)
    finally:
        torch.set_num_threads(before)
    assert len(names) == 2
