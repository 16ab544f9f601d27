"""The far side of peers.py: run by another Python that has neural-tangents, so it imports nothing of ours.

python tangents.py FOLDER IMPLEMENTATION ACTIVATION     # reads X, W, v .npy; "run" or "save", a line each
"""

import sys
import time
from pathlib import Path


def main(folder: Path, implementation: str, activation: str) -> None:
    """Answer each line with the seconds of processor time that it took, until the near side closes the pipe."""
    import jax
    import neural_tangents as nt
    import numpy as np

    X, W, v = (np.load(folder / f"{name}.npy") for name in "XWv")
    if X.dtype == np.float64:
        jax.config.update("jax_enable_x64", True)
    phi = {"relu": jax.nn.relu, "softplus": jax.nn.softplus}[activation]
    number = {"jacobian contraction": 1, "vector products": 2, "structured derivatives": 3}[implementation]
    X, W, v = jax.numpy.asarray(X), jax.numpy.asarray(W.T), jax.numpy.asarray(v)
    kernel = nt.empirical_ntk_fn(
        lambda weights, inputs: (phi(inputs @ weights) @ v)[:, None],
        trace_axes=(-1,),
        vmap_axes=0,
        implementation=nt.NtkImplementation(number),
    )
    compiled = jax.jit(lambda inputs, weights: kernel(inputs, None, weights))
    print(f"neural-tangents {nt.__version__}, jax {jax.__version__}", flush=True)
    for line in sys.stdin:
        began = time.process_time()
        if line.strip() == "run":
            result = compiled(X, W).block_until_ready()
        else:
            np.save(folder / "K.npy", np.asarray(result))
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
