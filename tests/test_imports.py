"""Who may import whom (the arrows that must never exist), read from the import statements themselves.

Imports inside functions, under ``TYPE_CHECKING`` and by ``importlib.import_module("name")`` count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = ("trainables", "study", "analysis")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``importer`` (a module or a package with all below it) imports none of ``forbidden``, but for ``allowed``."""

    importer: str
    forbidden: tuple[str, ...]
    why: str
    allowed: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    """Importers that the rule does not hold for."""
    through_others: bool = False
    """Whether an import by way of other modules of this project counts too."""


RULES = (
    Rule(importer="trainables", forbidden=("study", "analysis"), why="a trial knows nothing of studies"),
    Rule(importer="study", forbidden=("analysis",), why="results reach the analysis through Parquet alone"),
    Rule(
        importer="analysis",
        forbidden=("study",),
        allowed=("study.records",),
        why="results reach the analysis through Parquet alone",
    ),
    Rule(
        importer="analysis",
        forbidden=("torch", "ray", "optuna"),
        through_others=True,
        why="a report is made where nothing was trained",
    ),
    *(
        Rule(importer=name, forbidden=("analysis.paper",), why="targets must not leak into training")
        for name in ("trainables", "study")
    ),
    *(Rule(importer=name, forbidden=("tests",), why="tests are not shipped") for name in PACKAGES),
    Rule(
        importer="trainables",
        forbidden=("ray",),
        exempt=("trainables.trainable", "trainables.pack_engine", "trainables.subspace_trainable"),
        why="a model, a loss or a loop can be used and tested without Ray",
    ),
)

STDLIB_ONLY = {"trainables.recipes": (), "trainables.config": ("trainables.recipes",)}
"""Leaf -> the modules of this project that it may import besides the standard library."""


def imports(module: str, source: str, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yields (line, dotted name) of every import; ``from a import b`` is ``a.b`` if that is a module, else ``a``.

    ``known`` holds the modules of this project; a package is one of them too.
    """
    is_package = any(name.startswith(module + ".") for name in known)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package else -1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known or base in PACKAGES else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            yield from (
                (node.lineno, arg.value)
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether ``name`` is one of the modules or packages, or lies below one."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def violations(sources: Mapping[str, str]) -> list[str]:
    """Returns one line per import that breaks a rule; ``sources`` maps dotted module names to source text."""
    known = frozenset(sources)
    direct = {module: list(imports(module, source, known)) for module, source in sources.items()}

    def reached(module: str, seen: set[str]) -> Iterator[tuple[int, str, str]]:
        """(line in the first module, name, the chain) of all that an import of ``module`` brings with it."""
        for line, name in direct[module]:
            yield line, name, name
            for inner in {name, name.split(".")[0]} & known - seen:
                seen.add(inner)
                yield from ((line, n, f"{name} -> {chain}") for _, n, chain in reached(inner, seen))

    found = []
    for module in sources:
        for rule in RULES:
            if not within(module, (rule.importer,)) or within(module, rule.exempt):
                continue
            chains = reached(module, {module}) if rule.through_others else ((line, n, n) for line, n in direct[module])
            found += [
                f"{module}:{line} imports {chain}: {rule.why}"
                for line, name, chain in chains
                if within(name, rule.forbidden) and not within(name, rule.allowed)
            ]
        if module in STDLIB_ONLY:
            found += [
                f"{module}:{line} imports {name}: it is a leaf, standard library only"
                for line, name in direct[module]
                if name.split(".")[0] not in sys.stdlib_module_names and name not in STDLIB_ONLY[module]
            ]
    return found


def project_sources(root: Path) -> dict[str, str]:
    """Dotted module name -> source text of the three packages."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


def test_no_forbidden_arrow(repo_root: Path) -> None:
    sources = project_sources(repo_root)
    assert {*PACKAGES, "trainables.recipes", "trainables.config", "study.records"} <= set(sources)
    found = violations(sources)
    assert not found, "\n".join(found)


CLEAN = {
    "trainables": "",
    "trainables.recipes": "from dataclasses import dataclass",
    "trainables.config": "import math\nfrom trainables.recipes import SIZES",
    "trainables.model": "import torch\nfrom .config import TrialConfig",
    "trainables.trainable": "from ray import tune\nfrom trainables.model import VDLSTM",
    "study": "",
    "study.records": "import pyarrow as pa",
    "study.driver": "import ray\nfrom trainables import trainable\nfrom study import records",
    "analysis": "",
    "analysis.paper": "import csv",
    "analysis.load": "from study.records import EPOCHS\nfrom study import records\nfrom trainables import recipes",
    "analysis.tables": "from analysis import paper\nfrom . import load",
}


def test_what_is_allowed_passes() -> None:
    assert violations(CLEAN) == []


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("trainables.model", "import study.records", "trainables.model:1 imports study.records"),
        ("trainables.model", "from study import records", "imports study.records"),
        ("trainables.model", "from analysis.load import epochs", "imports analysis.load"),
        ("trainables.model", "from ..study import driver", "imports study.driver"),
        ("trainables.model", "def f():\n    import ray", "trainables.model:2 imports ray"),
        ("trainables.model", "from ray.tune import Trainable", "imports ray.tune"),
        ("trainables.config", "import numpy as np", "trainables.config:1 imports numpy"),
        ("trainables.config", "from trainables import model", "imports trainables.model: it is a leaf"),
        ("trainables.recipes", "from trainables.config import TrialConfig", "imports trainables.config"),
        ("study.driver", "from analysis import load", "imports analysis.load"),
        ("study.driver", "import importlib\nimportlib.import_module('analysis.paper')", "study.driver:2 imports"),
        ("study.driver", "from tests.conftest import data_dir", "imports tests.conftest: tests are not shipped"),
        ("study.driver", "from analysis import paper", "targets must not leak into training"),
        ("study.records", "if TYPE_CHECKING:\n    from analysis.tables import table1", "study.records:2"),
        ("analysis.tables", "from study.driver import run", "imports study.driver"),
        ("analysis.tables", "from study import driver", "imports study.driver"),
        ("analysis.tables", "import study", "imports study"),
        ("analysis.tables", "import optuna.importance", "imports optuna.importance"),
        ("analysis.tables", "from trainables.model import VDLSTM", "imports trainables.model -> torch"),
        ("analysis.tables", "from trainables.trainable import T", "imports trainables.trainable -> ray"),
    ],
)
def test_a_planted_violation_is_found(module: str, line: str, expected: str) -> None:
    found = violations({**CLEAN, module: line})
    assert any(expected in one for one in found), found
