"""The report's figures, all of them: importing this module fills the registry.

To add one, write a module with a data function and a draw function, ``register`` them, and import it here. The order
of the imports is the order of the figures.
"""

# ruff: noqa: I001  the order is the report's

from __future__ import annotations

from analysis.figure import FIGURES, Drawing, Figure, Info, Part, drawings, register, skipped
from analysis import figure1 as figure1
from analysis import training_curves as training_curves
from analysis import forest as forest
from analysis import best_so_far as best_so_far
from analysis import expected_best as expected_best
from analysis import importance_view as importance_view
from analysis import tau_gamma as tau_gamma
from analysis import slices as slices
from analysis import parallel as parallel
from analysis import asha_rungs as asha_rungs
from analysis import asha_audit as asha_audit
from analysis import fidelity_view as fidelity_view
from analysis import cost as cost

__all__ = ["FIGURES", "Drawing", "Figure", "Info", "Part", "drawings", "register", "skipped"]
