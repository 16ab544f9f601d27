"""The tests of the kernels, run by Triton's interpreter on this machine's CPU."""

import pytest
from kernels.gpu import interpret


def test_rows_and_gram_in_the_interpreter():
    interpret.run("test_device_rows.py", "test_gram.py")


@pytest.mark.slow
def test_more_of_the_gram_in_the_interpreter():
    interpret.run("test_gram.py", slow=True)
