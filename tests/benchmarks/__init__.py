"""Benchmarks: our doors and every rival that installs from PyPI, on the same inputs, in one run.

    make bench            # everything a CPU can show; prints the table, writes RESULTS.md and figures/speed.png
    make bench-peers      # once: neural-tangents in an environment of its own (it needs an older jax)
    make bench-gpu        # the GPU rows, measured where there is a GPU and calculated where there is none

How a ratio is measured. Rival and ours are warmed up (the first call is reported apart: compilation lives there), then
run in turns: one round is one call of ours and at once one call of the rival, and gives one ratio. The table states
the median over the rounds, and the least and the largest. pytest-benchmark runs the rounds and keeps its own record of
every contender. The process is held on one core, with one thread in every library, and its processor time is counted;
a few rows are taken again on all cores, by wall-clock. `python -m benchmarks --only REGEX` measures a part.

    harness.py            what a workload is; the clock; the rounds; the record, which survives an interruption
    machine.py            processor, versions, thread counts, and the peaks that fractions refer to
    kernel_matrix.py      the empirical kernel: workloads, rivals         tangents.py   the far side of neural-tangents
    gradient_descent.py   one large run, and 64 small ones
    spectra.py            singular values of the Jacobian; the linearised trajectory
    million.py            width 10^6: time and peak memory
    first_calls.py        what compiling costs, once, and loading, once a process
    widths.py             the points of the chart                         chart.py      time against width
    workloads.py bench.py all of them, and the pytest-benchmark session
    gpu.py                the same question on a GPU
    targets.py report.py  what must be reached, and RESULTS.md
"""
