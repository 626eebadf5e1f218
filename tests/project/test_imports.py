"""Checks every import statement of the three packages against the order of their folders and the forbidden imports.

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

FLOORS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "trainables": (
        ("benchmark",), ("figure1",), ("tune",), ("pack",), ("trial",), ("fused",), ("models",), ("data",),
        ("storage",), ("config",), ("recipes",),
    ),
    "study": (
        ("run", "reproduce", "status", "benchmark"), ("cli",), ("figure1",), ("driver",), ("search",), ("spec",),
        ("records",),
    ),
    "analysis": (
        ("report",), ("page",), ("health",), ("claims",), ("tables", "figures"), ("measures",), ("stats",),
        ("records",), ("paper", "parameters"),
    ),
}  # fmt: skip
"""The folders and modules of each package from top to bottom. Each imports from lower floors alone."""


def floors_below(package: str, name: str) -> tuple[str, ...]:
    """The dotted names of all folders and modules on the floors below one."""
    floors = FLOORS[package]
    (level,) = (level for level, names in enumerate(floors) if name in names)
    return tuple(f"{package}.{lower}" for names in floors[level + 1 :] for lower in names)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``importers`` (modules, or packages with all below them) import none of ``forbidden``, except ``allowed``."""

    importers: tuple[str, ...]
    forbidden: tuple[str, ...]
    why: str
    allowed: tuple[str, ...] = ()
    through_others: bool = False
    """Whether an import through other modules of this project counts too."""


RULES = (
    Rule(importers=("trainables",), forbidden=("study", "analysis"), why="a trial does not depend on studies"),
    Rule(importers=("study",), forbidden=("analysis",), why="results reach the analysis through Parquet alone"),
    Rule(
        importers=("analysis",),
        forbidden=("study",),
        allowed=("study.records.records", "study.records.parameters", "study.records.trials"),
        why="results reach the analysis through Parquet alone",
    ),
    Rule(importers=("analysis",), forbidden=("torch", "ray"), through_others=True, why="a report needs no training"),
    Rule(importers=("trainables", "study"), forbidden=("analysis.paper",), why="targets must not leak into training"),
    Rule(importers=PACKAGES, forbidden=("tests",), why="tests are not shipped"),
    Rule(
        importers=floors_below("trainables", "tune"),
        forbidden=("ray",),
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
        """(line in the first module, name, the chain) of every import of ``module`` and of the modules it imports."""
        for line, name in direct[module]:
            yield line, name, name
            for inner in {name, name.split(".")[0]} & known - seen:
                seen.add(inner)
                yield from ((line, n, f"{name} -> {chain}") for _, n, chain in reached(inner, seen))

    found = []
    for module in sources:
        for rule in RULES:
            if not within(module, rule.importers):
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


def upward(sources: Mapping[str, str]) -> list[str]:
    """Returns one line per import from the same floor of its package or a higher one."""
    known, found = frozenset(sources), []
    for module, source in sources.items():
        package, *path = module.split(".")
        if not path:
            continue
        floor = {name: number for number, names in enumerate(FLOORS[package]) for name in names}
        for line, name in imports(module, source, known):
            to = name.split(".")
            if to[0] != package or len(to) == 1 or to[1] == path[0]:
                continue
            if floor[to[1]] <= floor[path[0]]:
                found.append(f"{module}:{line} imports {name}: {to[1]} is not below {path[0]}")
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
    assert {*PACKAGES, "trainables.recipes", "trainables.config", "study.records.records"} <= set(sources)
    found = [*violations(sources), *upward(sources)]
    assert not found, "\n".join(found)


def test_every_folder_has_a_floor(repo_root: Path) -> None:
    for package, floors in FLOORS.items():
        there = {
            path.stem
            for path in (repo_root / package).iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert {name for names in floors for name in names} == there - {"__init__"}, package


def test_a_planted_import_from_above_is_found() -> None:
    sources = {
        "study.records.records": "import pyarrow",
        "study.spec.spec": "from study.records.records import Setting",
        "study.run": "from study.spec.spec import StudySpec",
        "study.status": "",
    }
    assert upward(sources) == []
    found = upward(
        {**sources, "study.records.schemas": "from study.spec import spec", "study.run": "import study.status"}
    )
    assert found == [
        "study.run:1 imports study.status: status is not below run",
        "study.records.schemas:1 imports study.spec.spec: spec is not below records",
    ]


CLEAN = {
    "trainables": "",
    "trainables.recipes": "from dataclasses import dataclass",
    "trainables.config": "import math\nfrom trainables.recipes import SIZES",
    "trainables.models": "",
    "trainables.models.base": "import torch\nfrom ..config import TrialConfig",
    "trainables.tune": "",
    "trainables.tune.trainable": "from ray import tune\nfrom trainables.models.base import LanguageModel",
    "study": "",
    "study.records": "",
    "study.records.records": "import pyarrow as pa",
    "study.driver": "",
    "study.driver.driver": "import ray\nfrom trainables.tune import trainable\nfrom study.records import records",
    "analysis": "",
    "analysis.paper": "import csv",
    "analysis.records": "",
    "analysis.records.load": "from study.records.records import EPOCHS\nfrom trainables import recipes",
    "analysis.tables": "from analysis import paper\nfrom .records import load",
}


def test_what_is_allowed_passes() -> None:
    assert violations(CLEAN) == []


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("trainables.models.base", "import study.records.records", "trainables.models.base:1 imports study.records"),
        ("trainables.models.base", "from study.records import records", "imports study.records.records"),
        ("trainables.models.base", "from analysis.records.load import epochs", "imports analysis.records.load"),
        ("trainables.models.base", "from ...study.driver import driver", "imports study.driver.driver"),
        ("trainables.models.base", "def f():\n    import ray", "trainables.models.base:2 imports ray"),
        ("trainables.models.base", "from ray.tune import Trainable", "imports ray.tune"),
        ("trainables.config", "import numpy as np", "trainables.config:1 imports numpy"),
        ("trainables.config", "from trainables.models import base", "imports trainables.models.base: it is a leaf"),
        ("trainables.recipes", "from trainables.config import TrialConfig", "imports trainables.config"),
        ("study.driver.driver", "from analysis.records import load", "imports analysis.records.load"),
        ("study.driver.driver", "import importlib\nimportlib.import_module('analysis.paper')", "driver:2 imports"),
        ("study.driver.driver", "from tests.conftest import data_dir", "tests are not shipped"),
        ("study.driver.driver", "from analysis import paper", "targets must not leak into training"),
        (
            "study.records.records",
            "if TYPE_CHECKING:\n    from analysis.tables import table1",
            "study.records.records:2",
        ),
        ("analysis.tables", "from study.driver.driver import run", "imports study.driver.driver"),
        ("analysis.tables", "from study.driver import driver", "imports study.driver.driver"),
        ("analysis.tables", "import study", "imports study"),
        ("analysis.tables", "from trainables.models import base", "imports trainables.models.base -> torch"),
        ("analysis.tables", "from trainables.tune.trainable import T", "imports trainables.tune.trainable -> ray"),
    ],
)
def test_a_planted_violation_is_found(module: str, line: str, expected: str) -> None:
    found = violations({**CLEAN, module: line})
    assert any(expected in one for one in found), found
