"""Hypergradients: the claims on Lorraine et al. (2020) and on Raghu et al. (ICLR 2021), H1 to H10.

Teaching with commentaries differentiates a validation loss through the solution of a training problem, by a truncated
Neumann series. What is left out, what it costs and where it fails can be proved; the forms are ours (*derived*), with
proofs in paper_notes/raghu2021.md. Each family has `check`, which judges objects of yours, and `experiment`, which
makes objects itself (`theory verify`).
"""

from theory.claim import register
from theory.papers.raghu2021.balance import H9
from theory.papers.raghu2021.certificate import H7
from theory.papers.raghu2021.direction import H10
from theory.papers.raghu2021.identity import H1
from theory.papers.raghu2021.implicit import H4, H5
from theory.papers.raghu2021.inexact import H6
from theory.papers.raghu2021.krylov import H8
from theory.papers.raghu2021.series import H2, H3

register(H1, H2, H3, H4, H5, H6, H7, H8, H9, H10)

__all__ = ["H1", "H2", "H3", "H4", "H5", "H6", "H7", "H8", "H9", "H10"]
