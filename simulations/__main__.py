"""Every simulation's quick profile, several at once: `python -m simulations` (what `make figures` runs)."""

import argparse
import os
import sys
from pathlib import Path

from simulations import all_simulations
from theory import checks
from theory.lab import report


def main() -> int:
    """Run all simulations and judge them in one table; see `theory.lab.report.run` for the exit status."""
    parser = argparse.ArgumentParser(prog="python -m simulations", description=__doc__)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="folder for the figures")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many to run at once")
    options = parser.parse_args()
    chosen = [kind.full() if options.profile == "full" else kind() for kind in all_simulations()]
    longest_first = sorted(chosen, key=lambda simulation: -simulation.quick_seconds)
    try:
        return report.run(longest_first, options.output, checks.integer("jobs", options.jobs, minimum=1))
    except checks.InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: output: expected a folder that can be written, got {error}; choose another --output",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
