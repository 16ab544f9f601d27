"""Functional entropy as a regulariser for several modalities: the claims on Gat et al. (NeurIPS 2020), F1 to F12.

The paper maximises the Fisher information of a classifier's loss under Gaussian perturbations of each modality, as a
bound on its functional entropy. The inequalities are classical; which way they point, when they are tight, what a few
draws see of them, and what they become behind a softmax is stated and judged here, with proofs in
paper_notes/gat2020.md. Each family has `check`, which judges objects of yours, and `experiment`, which makes its own.
"""

from theory.claim import register
from theory.papers.gat2020.exact_values import F8
from theory.papers.gat2020.log_sobolev import F1, F2
from theory.papers.gat2020.other_laws import F10
from theory.papers.gat2020.plug_in import F7
from theory.papers.gat2020.shifts import F5, F6
from theory.papers.gat2020.softmax import F11, F12
from theory.papers.gat2020.tensorization import F3, F4
from theory.papers.gat2020.two_sided import F9

register(F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, F12)

__all__ = ["F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12"]
