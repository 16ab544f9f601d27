"""Settings of every test run: threads, hypothesis profiles, shapes and types checked at run time.

Hypothesis: `ci` is the default; `HYPOTHESIS_PROFILE=thorough pytest ...` searches longer. A failure prints the blob
that repeats it, and the header names the profile.
"""

import os

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # parallel workers share the cores: one thread each, unless the caller chose; set before BLAS is loaded
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402

import hypothesis  # noqa: E402
import matplotlib  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

matplotlib.use("agg")
hypothesis.settings.register_profile(
    "ci",
    deadline=None,  # the first call of a torch function is many times slower than the next
    derandomize=False,  # every run looks somewhere new
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # drawing a data set competes with the other worker
)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("ci"), max_examples=2000)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
hypothesis.settings.load_profile(PROFILE)

install_import_hook("theory", "shapes.check")  # tests/shapes.py


def pytest_report_header() -> str:
    """Name what can make two runs differ."""
    return f"hypothesis profile: {PROFILE}"


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Figures that a test drew and did not save stay open otherwise, and the twenty-first is a warning."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
