"""``python -m tests.analysis.keep_reference RESULTS``: keeps a results folder's records under ``analysis/reference``.

One file per study and table, compressed, instead of one per trial. What is about the machine's folders and kernel is
left out; no number is touched. Runs that have not ended are left out of the ``subspace`` table.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.records import HIVE_KEYS, SCHEMAS, read_table

REFERENCE = Path(__file__).resolve().parents[2] / "analysis" / "reference"


def keep(results: str, folder: Path) -> int:
    """Replaces the tables of a folder by those of a results folder; returns the number of files written."""
    written = 0
    for name in SCHEMAS:
        shutil.rmtree(folder / name, ignore_errors=True)
        table = _without_machine(name, read_table(results, name).combine_chunks())
        keys = [*HIVE_KEYS.names, "study"]
        for key in sorted({tuple(row.values()) for row in table.select(keys).to_pylist()}):
            mask = pc.and_kleene(pc.equal(table["study"], key[-1]), pc.equal(table["corpus"], key[0]))
            rows = table.filter(mask).select(SCHEMAS[name].names)
            parts = [f"{k}={v}" for k, v in zip(HIVE_KEYS.names, key[:-1], strict=True)]
            path = folder.joinpath(name, *parts, key[-1], "all.a1.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, path, compression="zstd")
            written += 1
    return written


def _without_machine(name: str, table: pa.Table) -> pa.Table:
    if name == "runs":
        argv = [re.sub(r"^\S*/study/(\w+)\.py", r"python -m study.\1", text) for text in table["argv"].to_pylist()]
        argv = [re.sub(r"(--storage )\S*/(\S+)", r"\1\2", text) for text in argv]
        system = [
            re.sub(r"^(\w+)-.*?-(x86_64|aarch64|arm64)", r"\1-\2", text) for text in table["platform"].to_pylist()
        ]
        for column, values in (("argv", argv), ("platform", system)):
            table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, pa.string()))
    if name == "subspace":
        ended = table.filter(pc.not_equal(table["status"], "interrupted"))["trial_id"]
        table = table.filter(pc.is_in(table["trial_id"], value_set=ended.combine_chunks()))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.analysis.keep_reference", description=__doc__)
    parser.add_argument("results", help="folder or s3:// URI")
    given = parser.parse_args(argv)
    print(f"{keep(given.results, REFERENCE)} files written to {REFERENCE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
