"""What can be known of a network before it is trained, and how wide one must be for claim C2 to promise recovery."""

import math
from dataclasses import dataclass

import torch

from theory import activations, arrays, checks, covariance, spectrum
from theory.activations import Activation
from theory.arrays import Array
from theory.networks import TwoLayer, unaltered


@dataclass(frozen=True)
class Start:
    """What claims C2 and C9 measure at W0. Singular values come from the kernel J J^T, rounded to the safe side.

    Attributes:
        sigma: least singular value of Pi_+ J(W0) on the clusters' subspace.
        support: ||Pi_+ J(W0)||_op.
        nuisance: ||Pi_- J(W0)||_op, zero for perfect clusters.
        beta: Gamma1 ||v||_2 ||X||_op, at least ||J(W)||_op for every W.
        lipschitz: L, the Lipschitz constant of the Jacobian.
        residual_support: ||Pi_+ r_0||_2.
        residual_nuisance: ||Pi_- r_0||_2.
        noise_limit: ||Pi_+ e||_inf, the largest |mean label noise of a cluster|.
        output_nuisance: ||Pi_- f_0||_inf.
        smallest_cluster: its number of points.
    """

    sigma: float
    support: float
    nuisance: float
    beta: float
    lipschitz: float
    residual_support: float
    residual_nuisance: float
    noise_limit: float
    output_nuisance: float
    smallest_cluster: int

    @property
    def step_limit(self) -> float:
        """Largest step of C2: 1/beta^2."""
        return self.beta**-2

    def recovers(self, step: float) -> bool:
        """C2's hypotheses, for perfect clusters: 9 L ||Pi_+ r_0|| <= sigma^2 and step <= 1/beta^2."""
        premise = 9 * self.lipschitz * self.residual_support <= self.sigma**2
        return premise and checks.number("step", step, low=0, open_low=True) <= self.step_limit


def recovery_width(C: Array, activation: str | Activation, *, failure: float, paired: bool = False) -> int:
    """Least even width k with k d >= 324 Gamma2^2 m^2 kappa(C)^2 K^2, which makes C2's hypotheses likely.

    m = 1 + Gamma1 sqrt(2 log(2K/p)), p = `failure`; paired: m = 1 and k >= 16 Gamma1^2 ||C||^2 log(K/p) / lambda too.
    For equal clusters, |y| <= 1, balanced output with |v_j| = 1/sqrt(k), and step 1/beta^2.

    Args:
        C: cluster centres, (K, d).
        activation: a smooth one.
        failure: p in (0, 1): the hypotheses fail with probability at most p if paired, otherwise p plus
            K exp(-k lambda / (8 Gamma1^2 ||C||^2)).
        paired: whether the network starts at zero.

    Raises:
        InvalidInput: an activation with a kink, or centres whose neural covariance is singular.

    Example:
        >>> recovery_width([[1.0, 0.0], [0.0, 1.0]], "softplus", failure=0.2)
        5594
    """
    activation, failure = (
        activations.get(activation),
        checks.number("failure", failure, low=0, high=1, open_low=True, open_high=True),
    )
    _smooth(activation)
    (C,), _ = arrays.tensors(C=C)
    clusters, least = len(C), float(covariance.least_eigenvalue(C, activation))
    size = float(torch.linalg.matrix_norm(C.detach().double(), 2))
    if not least > 1e-14:
        checks.fail("lambda(C)", "> 0", f"{least:.3g}", "separate the centres, and their negatives: no width suffices")
    m = 1.0 if paired else 1 + activation.gamma1 * math.sqrt(2 * math.log(2 * clusters / failure))
    width = 324 * clusters * (activation.gamma2 * m * size / least) ** 2
    if paired:
        width = max(width, 16 * (activation.gamma1 * size) ** 2 / least * math.log(clusters / failure))
    return 2 * math.ceil(width / 2)


def measure_start(network: TwoLayer, X: Array, clusters: Array, truth: Array, observed: Array) -> Start:
    """Measure a network at W0 on clustered data, in float64.

    Args:
        network: at W0, smooth activation.
        X: inputs, (n, d).
        clusters: cluster of each input, (n,), integers.
        truth: true labels, (n,), one value per cluster.
        observed: observed labels, (n,).

    Raises:
        InvalidInput: wrong shapes, NaN, an activation with a kink, true labels that differ inside a cluster.
    """
    _smooth(two_layer(network).activation)
    (X, clusters, truth, observed), _ = arrays.tensors(X=X, clusters=clusters, truth=truth, observed=observed)
    X, truth, observed = X.double(), truth.double(), observed.double()
    checks.matrix("X", X, columns=network.dimension)
    for name, column in (("clusters", clusters), ("truth", truth), ("observed", observed)):
        checks.vector(name, column, length=len(X))
    if float(spectrum.nuisance_projection(truth, clusters).abs().max()) > 1e-12:
        checks.fail("truth", "one value per cluster", "several in one cluster", "give each cluster one class")
    K0 = covariance.empirical_kernel(X, network)
    if not float(K0.trace()) > 0:
        checks.fail("kernel at W0", "some gradient that is not zero", "none", "check X and v: no output moves")
    with torch.no_grad():
        f0 = network(X)
    basis = spectrum.support_basis(clusters).double()
    within = torch.linalg.eigvalsh(basis.T @ K0 @ basis)
    off = spectrum.nuisance_projection(spectrum.nuisance_projection(K0, clusters).T, clusters)
    rounding = len(X) * torch.finfo(torch.float64).eps * float(K0.trace())
    residual = f0 - observed
    return Start(
        sigma=math.sqrt(max(0.0, float(within[0]) - rounding)),
        support=math.sqrt(float(within[-1]) + rounding),
        nuisance=math.sqrt(max(0.0, float(torch.linalg.eigvalsh((off + off.T) / 2)[-1]) + rounding)),
        beta=network.jacobian_bound(X),
        lipschitz=network.lipschitz(X),
        residual_support=float(spectrum.support_projection(residual, clusters).norm()),
        residual_nuisance=float(spectrum.nuisance_projection(residual, clusters).norm()),
        noise_limit=float(spectrum.support_projection(observed - truth, clusters).abs().max()),
        output_nuisance=float(spectrum.nuisance_projection(f0, clusters).abs().max()),
        smallest_cluster=int(torch.unique(clusters, return_counts=True)[1].min()),
    )


def two_layer(network: object) -> TwoLayer:
    """The network itself, if its constants Gamma1, Gamma2, v and W0 are known.

    Raises:
        InvalidInput: no `TwoLayer`, or one whose outputs are computed otherwise.
    """
    if not unaltered(network):
        checks.fail("network", "a TwoLayer", type(network).__name__, "no other network's constants are known here")
    return network


def _smooth(activation: Activation) -> None:
    if activation.gamma2 == math.inf:
        checks.fail(
            "activation", "a smooth one", f"{activation.name} (gamma2 infinite)", "use softplus, erf, tanh or gelu"
        )
