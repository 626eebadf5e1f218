"""The report's tables, all of them in the report's order. To add one, write a function from ``Results`` to ``Table``,
``register`` it, and import its module here.
"""

from __future__ import annotations

# The order of these lines is that of the report.
# isort: off
from analysis.perplexity_tables import table_1, table_2
from analysis.system_tables import table_3, parameters
from analysis.prediction_tables import table_4
from analysis.mass_tables import word_mass
from analysis.session_tables import footnote_4
from analysis.comparison_tables import contrasts, tuning_debts
from analysis.tuning_tables import tuning, search
from analysis.table import TABLES
# isort: on

__all__ = [
    "TABLES",
    "contrasts",
    "footnote_4",
    "parameters",
    "search",
    "table_1",
    "table_2",
    "table_3",
    "table_4",
    "tuning",
    "tuning_debts",
    "word_mass",
]
