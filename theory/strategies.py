"""Hypothesis strategies for what the claims speak of, and `check`, which makes a claim an assertion inside `@given`.

    from hypothesis import given
    from theory import strategies

    @given(strategies.corrupted())
    def test_my_bound(pair):
        data, labels = pair
        strategies.check(my_claim, bound=..., measured=...)

The package hypothesis comes with the extra `test`.
"""

from typing import Any

import torch
from hypothesis import assume, event, settings
from hypothesis import strategies as st

from theory import activations as acts
from theory import checks, clusterable, label_noise, networks
from theory.claim import Claim
from theory.clusterable import ClusterableData
from theory.label_noise import CorruptedLabels
from theory.networks import TwoLayer
from theory.verdict import Status, Verdict

SMOOTH = ("softplus", "erf", "tanh", "gelu")


def activations(*, smooth: bool = False) -> st.SearchStrategy[acts.Activation]:
    """The library's activations; only those with a finite Gamma2 when `smooth`."""
    return st.sampled_from(SMOOTH if smooth else acts.names()).map(acts.get)


@st.composite
def clustered(
    draw: st.DrawFn,
    *,
    min_clusters: int = 2,
    max_clusters: int = 5,
    min_dimension: int = 2,
    max_dimension: int = 8,
    min_per_cluster: int = 1,
    max_per_cluster: int = 6,
    min_radius: float = 0.0,
    max_radius: float = 0.5,
    minimum_separation: float = 0.1,
) -> ClusterableData:
    """Clusterable data sets: unit rows, clusters of unequal sizes, real labels, one class per cluster.

    Args:
        draw: given by hypothesis.
        min_clusters, max_clusters: range of K, at least 2.
        min_dimension, max_dimension: range of d, at least 2.
        min_per_cluster, max_per_cluster: range of the clusters' sizes, at least 1.
        min_radius, max_radius: range of eps0, in [0, 2]; the least is drawn often, so 0 gives perfect clusters often.
        minimum_separation: least distance of two centres, and of each from the others' antipodes; up to 0.3, which any
            five directions of the plane can keep.

    Raises:
        InvalidInput: when drawn, if a range is empty or out of bounds.
    """
    K = draw(_integers("clusters", min_clusters, max_clusters, 2))
    d = draw(_integers("dimension", min_dimension, max_dimension, 2))
    sizes = draw(st.lists(_integers("per_cluster", min_per_cluster, max_per_cluster, 1), min_size=K, max_size=K))
    low, high = checks.number("min_radius", min_radius, 0, 2), checks.number("max_radius", max_radius, min_radius, 2)
    radius = draw(st.one_of(st.just(low), st.floats(low, high)))
    checks.number("minimum_separation", minimum_separation, 0, 0.3)
    return clusterable.generate(
        K,
        draw(st.integers(2, K)),
        d,
        sizes=sizes,
        radius=radius,
        minimum_separation=minimum_separation,
        antipodal_separation=minimum_separation,
        seed=draw(_SEEDS),
    )


@st.composite
def corrupted(
    draw: st.DrawFn, data: st.SearchStrategy[ClusterableData] | None = None, *, max_rate: float = 1.0
) -> tuple[ClusterableData, CorruptedLabels]:
    """Pairs of a clusterable data set and corrupted labels for it, by any mode of `label_noise.corrupt`.

    Args:
        draw: given by hypothesis.
        data: strategy of the data sets; `clustered()` by default.
        max_rate: largest noise rate, in [0, 1].

    Raises:
        InvalidInput: when drawn, if the rate is out of bounds.
    """
    sample = draw(clustered() if data is None else data)
    rate = draw(st.floats(0, checks.number("max_rate", max_rate, 0, 1)))
    mode = draw(st.sampled_from(label_noise.MODES))
    return sample, label_noise.corrupt(sample, rate, mode, seed=draw(_SEEDS))


@st.composite
def two_layer(
    draw: st.DrawFn,
    *,
    dimension: int | st.SearchStrategy[int] = 3,
    min_width: int = 2,
    max_width: int = 64,
    smooth: bool = False,
    dtype: torch.dtype = torch.float64,
) -> TwoLayer:
    """Two-layer networks at initialisation: any activation, balanced, paired, all-plus or random output signs.

    Args:
        draw: given by hypothesis.
        dimension: of the inputs: a number or a strategy.
        min_width, max_width: range of the even width, at least 2.
        smooth: only activations with a finite Gamma2.
        dtype: of the weights.

    Raises:
        InvalidInput: when drawn, if a range is empty or out of bounds.
    """
    d = draw(dimension) if isinstance(dimension, st.SearchStrategy) else dimension
    half = _integers("width", (min_width + 1) // 2, max_width // 2, 1)
    paired = draw(st.booleans())
    outputs: tuple[networks.Output, ...] = ("balanced",) if paired else ("balanced", "ones", "random")
    output = draw(st.sampled_from(outputs))
    activation = draw(activations(smooth=smooth))
    return networks.TwoLayer.initialise(
        2 * draw(half), d, activation, output=output, paired=paired, seed=draw(_SEEDS), dtype=dtype
    )


def check(claim: Claim, *, level: float = 0.99, examples: int | None = None, **values: Any) -> Verdict:
    """Assert a claim inside a property test.

    A violated claim fails the test with both sides in the message. Out of scope and vacuous measurements are discarded,
    as by `hypothesis.assume`. An inconclusive one passes, for a true claim that meets its bound exactly (or within the
    noise) can't do better: `pytest --hypothesis-show-statistics` counts them, and `check(...).require()` is strict. The
    level is split over the examples of the running test, so that a true claim fails any of them with probability at
    most 1 - level.

    Args:
        claim: the claim.
        level: confidence for the whole test.
        examples: over how many examples to split it; by default the running test's `max_examples`.
        **values: the symbols, as for `Claim.check`, which also takes scale, settings and seed.

    Returns:
        The verdict.

    Raises:
        ClaimViolated: the claim is violated.
        InvalidInput: as `Claim.check`.
    """
    level = checks.number("level", level, 0, 1, open_low=True, open_high=True)
    running = settings.default  # inside a test: the settings of that test
    if examples is None:
        examples = running.max_examples if running else 1
    examples = checks.integer("examples", examples, minimum=1)
    verdict = claim.check(level=1 - (1 - level) / examples, **values)
    event(f"{claim.id}: {verdict.status}")
    assume(verdict.status not in (Status.OUT_OF_SCOPE, Status.VACUOUS))
    return verdict if verdict.status == Status.INCONCLUSIVE else verdict.require()


_SEEDS = st.integers(0, 2**32 - 1)


def _integers(name: str, low: int, high: int, minimum: int) -> st.SearchStrategy[int]:
    low = checks.integer(f"min_{name}", low, minimum=minimum)
    return st.integers(low, checks.integer(f"max_{name}", high, minimum=low))
