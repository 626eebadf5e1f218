"""The report's figures, all of them: importing this module fills the registry.

To add one, write a module with a data function and a draw function, ``register`` them, and import it here. The order
of the imports is the order of the figures.
"""

from __future__ import annotations

from analysis.figures.figure import FIGURES, drawings

# The order of these lines is that of the report.
# isort: off
from analysis.figures import figure1, figure2, forest
from analysis.figures import best_so_far, expected_best, importance, tau_gamma, slices
from analysis.figures import asha, fidelity, cost
# isort: on

_MODULES = (
    figure1, figure2, forest,
    best_so_far, expected_best, importance, tau_gamma, slices,
    asha, fidelity, cost,
)  # fmt: skip

__all__ = ["FIGURES", "drawings"]
