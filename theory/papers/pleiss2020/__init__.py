"""Mislabeled data by the area under the margin: claims about the method of Pleiss et al. (NeurIPS 2020), A1 to A6.

The paper proposes the method and measures it; these statements about it are *derived*, with proofs in
paper_notes/pleiss2020.md. Each family has `check`, which judges objects of yours, and `experiment`, which makes objects
itself (`theory verify`).
"""

from theory.claim import register
from theory.papers.pleiss2020.invariance import A6
from theory.papers.pleiss2020.kernel_descent import A1
from theory.papers.pleiss2020.link import A5
from theory.papers.pleiss2020.mean_margin import A2
from theory.papers.pleiss2020.one_class import A3
from theory.papers.pleiss2020.recall import A4

register(A1, A2, A3, A4, A5, A6)

__all__ = ["A1", "A2", "A3", "A4", "A5", "A6"]
