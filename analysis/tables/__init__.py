"""The report's tables, all of them in the report's order. To add one, write a function from ``Results`` to ``Table``,
``register`` it, and import its module here.
"""

from __future__ import annotations

# The order of these lines is that of the report.
# isort: off
from analysis.tables.table1_2 import table_1, table_2
from analysis.tables.table3 import table_3, parameters
from analysis.tables.table4 import table_4
from analysis.tables.word_mass import word_mass
from analysis.tables.footnote4 import footnote_4
from analysis.tables.contrasts import contrasts, tuning_debts
from analysis.tables.search import tuning, search
from analysis.tables.table import TABLES
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
