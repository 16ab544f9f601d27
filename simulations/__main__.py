"""Every simulation's quick profile, one after another: `python -m simulations` (what `make figures` runs)."""

import argparse
import sys
from pathlib import Path

from simulations import all_simulations
from theory.lab import report


def main() -> int:
    """Run all simulations and judge them in one table; see `theory.lab.report.run` for the exit status."""
    parser = argparse.ArgumentParser(prog="python -m simulations", description=__doc__)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="folder for the figures")
    options = parser.parse_args()
    return report.run(
        [kind.full() if options.profile == "full" else kind() for kind in all_simulations()], options.output
    )


if __name__ == "__main__":
    sys.exit(main())
