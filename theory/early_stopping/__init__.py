"""When to stop, and what can be promised: linearised descent in closed form, the stopping window, how far a network
must travel to overfit, and certificates of recovery from label noise.

Notation: r_tau = f(W_tau) - y with observed labels y = truth + noise; Pi_+ projects on the vectors that are constant on
clusters, Pi_- on the rest. Cf. Li, Soltanolkotabi & Oymak (2020); the explicit forms here are derived, with proofs in
paper_notes/li2020.md under the claim that each docstring names.
"""

from theory.early_stopping.certificates import Certificate, Radii, certificate
from theory.early_stopping.distance import (
    DistanceBounds,
    distance_bound,
    pair_distance_bounds,
    quadratic_root,
    subspace_distance_bound,
)
from theory.early_stopping.linearisation import (
    Linearisation,
    Window,
    linearised,
    linearised_distance,
    linearised_error,
    stopping_window,
)
from theory.early_stopping.start import Start, measure_start, recovery_width

__all__ = [
    "Certificate",
    "DistanceBounds",
    "Linearisation",
    "Radii",
    "Start",
    "Window",
    "certificate",
    "distance_bound",
    "linearised",
    "linearised_distance",
    "linearised_error",
    "measure_start",
    "pair_distance_bounds",
    "quadratic_root",
    "recovery_width",
    "stopping_window",
    "subspace_distance_bound",
]
