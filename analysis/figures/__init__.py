"""The report's figures. To add one, write a module with a data function and a draw function under ``@register`` and
import it here; the order of the imports is the report's.
"""

# isort: off
from analysis.figures import figure1, figure2, forest  # noqa: F401
from analysis.figures import best_so_far, expected_best, importance, tau_gamma, slices  # noqa: F401
from analysis.figures import asha, fidelity, cost  # noqa: F401
from analysis.figures.figure import FIGURES, drawings
# isort: on

__all__ = ["FIGURES", "drawings"]
