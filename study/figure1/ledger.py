"""The records of section 6.2's runs: the ``subspace`` table, a file per run and attempt, one writer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from study.driver.ray_session import StudyError
from study.records.provenance import provenance
from study.records.records import SUBSPACE, Records, Setting
from trainables.data.corpora import Corpus
from trainables.figure1.config import SubspaceConfig
from trainables.figure1.trainable import SubspaceJob

SETTING = Setting("ptb", "figure1", "al")
"""The partition of the records; not a setting of Table 1."""
_REPORTED = ("lr",)  # columns that the run itself reports, though its configuration has a field of that name
_CONFIG_COLUMNS = [n for n in SUBSPACE.names if n in SubspaceConfig.__dataclass_fields__ and n not in _REPORTED]


class GridLedger:
    """The runs of a grid, in memory and on record.

    Args:
        study: its name.
        runs: by id.
        storage: an absolute folder or an ``s3://`` URI.
        corpus: of the runs, to check and to record; None to read only.

    Raises:
        StudyError: if the study was run on another corpus.
        StorageError: if the storage cannot be read.
    """

    def __init__(
        self, study: str, runs: Mapping[str, SubspaceConfig], storage: str, *, corpus: Corpus | None = None
    ) -> None:
        self.study, self.runs, self.storage = study, dict(runs), storage
        self.records = Records(storage, SETTING, study)
        self._attempts = self.records.attempts("subspace")
        self.epochs: dict[str, int] = {}
        """Id -> epochs on record."""
        self.ended: set[str] = set()
        """Ids of the runs that are complete, or have failed."""
        self._rows: dict[str, list[dict[str, Any]]] = {}
        for row in self.records.read("subspace"):
            if corpus is not None and row["corpus_sha256"] != corpus.sha256:
                raise StudyError(
                    f"study {study} was run on another {corpus.name}: its content was {row['corpus_sha256'][:12]}, "
                    f"now it is {corpus.sha256[:12]}; use another --storage"
                )
            name = row["trial_id"]
            if row["status"] in ("complete", "failed"):
                self.ended.add(name)
            self.epochs[name] = max(self.epochs.get(name, 0), row["epoch"])
        if corpus is not None:
            where = provenance()
            self._where = {name: where[name] for name in ("git_commit", "torch", "cpu_model", "gpu_model")}
            self._where["corpus_sha256"] = corpus.sha256

    def jobs(self) -> list[SubspaceJob]:
        """The runs that have not ended, in the grid's order."""
        return [
            SubspaceJob(
                config=config.to_dict(), study=self.study, trial_id=name, storage=self.storage,
                recorded_epochs=self.epochs.get(name, 0),
            )
            for name, config in self.runs.items()
            if name not in self.ended
        ]  # fmt: skip

    def record(self, name: str, result: Mapping[str, Any]) -> None:
        """Records a finished or failed epoch; does nothing if it is on record already."""
        if result["epoch"] <= self.epochs.get(name, 0):
            return
        if name not in self._rows:
            self._rows[name] = []
            self._attempts[name] = self._attempts.get(name, 0) + 1
        config = self.runs[name].to_dict()
        row = {column: config[column] for column in _CONFIG_COLUMNS}
        row |= {column: result[column] for column in SUBSPACE.names if column in result}
        failed = "failure" in result
        complete = bool(result.get("complete"))  # Tune also sets ``done`` when a time budget ends a run
        row |= self._where | {
            "study": self.study,
            "trial_id": name,
            "attempt": self._attempts[name],
            "status": "failed" if failed else "complete" if complete else "interrupted",
            "recorded_at": dt.datetime.now(dt.UTC),
        }
        self._rows[name].append(row)
        self.records.write("subspace", name, self._attempts[name], self._rows[name])
        self.epochs[name] = result["epoch"]
        if failed or complete:
            self.ended.add(name)
