"""Simulations: one file per phenomenon, each `settings -> run -> results -> figure -> verdicts`.

Run one with `python -m simulations.NAME --help`, all of them with `python -m simulations`.
"""

import importlib

from theory.lab.simulation import Simulation

NAMES = (
    "clusters",
    "early_stopping",
    "corruption",
    "distance",
    "two_points",
    "spectrum",
    "phase_diagram",
    "recovery",
    "phase_boundary",
    "large_width",
    "mislabeled",
    "aum_link",
    "outlier_views",
    "weighted_contrast",
    "entropy_bounds",
    "multimodal_bias",
    "modality_map",
    "hypergradients",
    "commentaries",
)
"""The files of this folder in the order of the papers."""


def all_simulations() -> list[type[Simulation]]:
    """The Simulation class of every file, imported on this call."""
    modules = [importlib.import_module(f"simulations.{name}") for name in NAMES]
    return [module.SIMULATION for module in modules]
