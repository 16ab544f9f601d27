"""The papers: each a thin ring of claims, in the paper's order, composed from the ideas below it."""

from theory.papers import gat2020, li2020, pleiss2020, raghu2021, wang2021

__all__ = ["gat2020", "li2020", "pleiss2020", "raghu2021", "wang2021"]
