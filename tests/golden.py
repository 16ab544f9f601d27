"""One small cell of every simulation, in a few numbers: `golden.json` holds what each gave at its present version.

After a change that means to give other numbers: raise the simulation's `version`, then

    python -m tests.golden
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from simulations import all_simulations
from theory.lab.simulation import Simulation, one_thread

FILE = Path(__file__).with_suffix(".json")

SMALL: dict[str, dict[str, Any]] = {
    "clusters": {},
    "early_stopping": {"width": 100, "per_cluster": 30, "steps": 40, "early": 10},
    "corruption": {
        "rates": (0.4,), "class_rates": (0.5,), "train_size": 60, "validation_size": 40, "test_size": 50, "records": 4,
        "clusters_per_class": 2, "width": 40, "steps": 30, "channels": (4, 8), "dense": 16, "epochs": 3, "batch": 10,
    },
    "distance": {
        "rates": (0.4,), "class_rates": (0.5,), "train_size": 60, "validation_size": 40, "test_size": 50, "records": 4,
        "clusters_per_class": 2, "width": 40, "steps": 30, "channels": (4, 8), "dense": 16, "epochs": 3, "batch": 10,
        "pairs": 3,
    },
    "two_points": {"width": 256, "activations": ("softplus",), "separations": (1.0, 0.3)},
    "spectrum": {"width": 300, "dimension": 8, "clusters": 3, "per_cluster": 5, "radii": (0.0, 0.1), "steps": 60},
    "phase_diagram": {
        "width": 256, "trained_width": 64, "per_cluster": 10, "noise_rates": (0.0, 0.2), "radii": (0.0, 0.1),
        "steps": 30,
    },
    "mislabeled": {"train_size": 150, "stop": 3, "long": 4, "retrain": 3},
    "aum_link": {
        "width": 60, "steps": 30, "digit_steps": 20, "records": 8, "clusters": 2, "per_cluster": 10, "digits": 30,
    },
    "outlier_views": {"temperatures": (9.0, 36.0, 350.0), "shares": (0.3,)},
    "weighted_contrast": {"scenarios": ("nuisance",), "epochs": 1, "width": 16, "repeats": 1, "test_share": 0.7},
    "entropy_bounds": {
        "variances": (0.1, 1.0), "dimensions": (2,), "draws": 64, "few": (2,), "repetitions": 50, "sizes": (64,),
        "networks": 1, "gains": (2.0,),
    },
    "multimodal_bias": {
        "rows": ("none", "information 0.01", "balance 0.1"), "epochs": 1, "warm_up": 0, "width": 16, "batch": 256,
        "measured": 2, "draws": 1,
    },
    "modality_map": {
        "shares": (0.3, 0.7), "shifts": (0.0, 1.0), "steps": 15, "warm_up": 5, "hidden": 3, "count": 30,
        "test_count": 50,
    },
    "hypergradients": {"size": 30, "dimension": 5, "orders": 20, "conditions": (3.0, 10.0, 30.0), "rounds": 40},
    "commentaries": {
        "depths": (1,), "depth": 1, "train": 100, "mask_train": 60, "blend_train": 60, "valid": 50, "rounds": 2,
        "inner_steps": 2, "partners": 1, "constants": (1.0,),
    },
    "recovery": {"width": 32, "dimension": 5, "per_cluster": 10, "steps": 60, "records": 12},
    "large_width": {"width": 256, "steps": 30},
    "phase_boundary": {
        "width": 16, "per_cluster": 10, "steps": 20, "records": 4, "noise_rates": (0.1, 0.4), "radii": (0.1, 0.6, 1.2),
        "runs_per_point": 12,
    },
}  # fmt: skip
"""Settings with which a cell takes about a second."""


def numbers(simulation: Simulation) -> dict[str, list[float]]:
    """Of each numeric variable of the cell of seed 0: how many values, their mean, spread and first."""
    with one_thread():
        results = simulation.run(0)
    found = {}
    for name, variable in results.variables.items():
        if variable.dtype.kind in "biuf":
            values = np.asarray(variable.values, dtype=float).ravel()
            values = np.where(np.isfinite(values), values, -1.0)  # a bound that is infinite stays recognisable
            found[str(name)] = [float(values.size), float(values.mean()), float(values.std()), float(values[0])]
    return found


def small(kind: type[Simulation]) -> Simulation:
    """The settings that `golden.json` is about."""
    return kind(seeds=2, **SMALL[kind.name])


def main() -> int:
    """Write the file again; refuse numbers that changed under the same version."""
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    after = {}
    for kind in all_simulations():
        after[kind.name] = {"version": kind.version, "numbers": numbers(small(kind))}
        known = before.get(kind.name)
        if known and known["version"] == kind.version and differences(known["numbers"], after[kind.name]["numbers"]):
            print(f"{kind.name}: other numbers under version {kind.version}: raise `version` first", file=sys.stderr)
            return 1
    lines = (f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in after.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


def differences(known: dict[str, list[float]], found: dict[str, list[float]]) -> list[str]:
    """Variables whose numbers are not the same up to another machine's rounding."""
    if known.keys() != found.keys():
        return sorted(known.keys() ^ found.keys())
    return [name for name in known if not np.allclose(known[name], found[name], rtol=1e-4, atol=1e-6)]


if __name__ == "__main__":
    sys.exit(main())
