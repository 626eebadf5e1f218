"""``python -m tests.support.keep_reference RESULTS...``: adds records to those that come with the project.

Keeps the trials that have ended, with their epochs and the token scores of the test split. Replaces a study that is
there already. Writes one compressed file per study and table instead of one per trial. Leaves out the machine's folders
and kernel; changes no number.

A study resumes from these records if they are copied into a results folder.
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

from study.records.records import HIVE_KEYS, SCHEMAS, read_table

REFERENCE = Path(__file__).resolve().parents[2] / "analysis" / "reference"


def keep(results: str, folder: Path) -> int:
    """Copies the records of a results folder to a folder; returns the number of files written."""
    ended = _ended(read_table(results, "trials")) | _ended(read_table(results, "subspace"))
    written = 0
    for name, schema in SCHEMAS.items():
        table = _without_machine(name, _only_ended(name, read_table(results, name).combine_chunks(), ended))
        keys = [*HIVE_KEYS.names, "study"]
        for key in sorted({tuple(row.values()) for row in table.select(keys).to_pylist()}):
            mask = pc.and_kleene(pc.equal(table["study"], key[-1]), pc.equal(table["corpus"], key[0]))
            rows = table.filter(mask).select(schema.names)
            parts = [f"{k}={v}" for k, v in zip(HIVE_KEYS.names, key[:-1], strict=True)]
            path = folder.joinpath(name, *parts, key[-1], "all.a1.parquet")
            shutil.rmtree(path.parent, ignore_errors=True)
            path.parent.mkdir(parents=True)
            pq.write_table(rows, path, compression="zstd")
            written += 1
    return written


def _ended(trials: pa.Table) -> set[tuple[str, str]]:
    rows = trials.select(["study", "trial_id", "status"]).to_pylist()
    return {(row["study"], row["trial_id"]) for row in rows if row["status"] != "interrupted"}


def _only_ended(name: str, table: pa.Table, ended: set[tuple[str, str]]) -> pa.Table:
    """The rows of trials that have ended; of ``runs``, those of studies that have such a trial."""
    if name == "runs":
        studies = {study for study, _ in ended}
        return table.filter(pa.array([study in studies for study in table["study"].to_pylist()], pa.bool_()))
    if name == "token_scores":
        table = table.filter(pc.equal(table["split"], "test"))
    rows = table.select(["study", "trial_id"]).to_pylist()
    return table.filter(pa.array([tuple(row.values()) in ended for row in rows], pa.bool_()))


def _without_machine(name: str, table: pa.Table) -> pa.Table:
    if name == "runs":
        argv = [re.sub(r"^\S*/study/(\w+)\.py", r"python -m study.\1", text) for text in table["argv"].to_pylist()]
        argv = [re.sub(r"(--storage )\S*/(\S+)", r"\1\2", text) for text in argv]
        system = [
            re.sub(r"^(\w+)-.*?-(x86_64|aarch64|arm64)", r"\1-\2", text) for text in table["platform"].to_pylist()
        ]
        for column, values in (("argv", argv), ("platform", system)):
            table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, pa.string()))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.keep_reference", description=__doc__)
    parser.add_argument("results", nargs="+", help="folder or s3:// URI")
    for results in parser.parse_args(argv).results:
        print(f"{keep(results, REFERENCE)} files of {results} written to {REFERENCE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
