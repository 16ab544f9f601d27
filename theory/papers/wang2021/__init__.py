"""Weights for the views of an image, unsupervised: the claims on Wang et al. (NeurIPS 2021), U1 to U7.

The paper weights each view's loss by exp(-d2/tau), d2 its Mahalanobis distance from the centre of its image's views,
and shows by experiment that this helps. What can be proved about these distances and weights stands here; the forms are
ours (*derived*), with proofs in paper_notes/wang2021.md. Each family has `check`, which judges objects of yours, and
`experiment`, which makes objects itself (`theory verify`).
"""

from theory.claim import register
from theory.papers.wang2021.distances import U1, U2
from theory.papers.wang2021.expansion import U6
from theory.papers.wang2021.gaussian import U4
from theory.papers.wang2021.importance import U7
from theory.papers.wang2021.invariance import U3
from theory.papers.wang2021.masking import U5

register(U1, U2, U3, U4, U5, U6, U7)

__all__ = ["U1", "U2", "U3", "U4", "U5", "U6", "U7"]
