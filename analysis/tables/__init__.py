"""The report's tables. To add one, write a function from ``Results`` to ``Table`` under ``@register`` and import its
module here; the order of the imports is the report's.
"""

# isort: off
from analysis.tables import table1_2, table3, table4, word_mass, footnote4  # noqa: F401
from analysis.tables import contrasts, search  # noqa: F401
from analysis.tables.table import TABLES
# isort: on

__all__ = ["TABLES"]
