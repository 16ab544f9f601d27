"""Early stopping is robust to label noise: the claims of Li, Soltanolkotabi & Oymak (AISTATS 2020), C1 to C13.

Statements marked *derived* are explicit forms with proofs in paper_notes/li2020.md; rates are exponents of statements
whose constants the paper leaves unnamed. Each family has `check`, which judges objects of yours, and `experiment`,
which makes objects itself (`theory verify`).
"""

from theory.claim import register
from theory.papers.li2020.certified import C9
from theory.papers.li2020.concentration import C4
from theory.papers.li2020.exact_recovery import C2
from theory.papers.li2020.geometry import C3
from theory.papers.li2020.linearised import C7
from theory.papers.li2020.low_rank import C11
from theory.papers.li2020.nearby import C5
from theory.papers.li2020.nearby_path import C8
from theory.papers.li2020.overfitting import C6
from theory.papers.li2020.overfitting_time import C13
from theory.papers.li2020.perfect_clusters import C1
from theory.papers.li2020.residuals import C10
from theory.papers.li2020.scaling import C12

register(C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13)

__all__ = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13"]
