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
"""The folders and modules of each package from the top to the bottom: each imports what stands below it alone. Those of
one floor do not import each other."""


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
        allowed=("study.records.records", "study.records.parameters", "study.records.trials"),
        why="results reach the analysis through Parquet alone",
    ),
    Rule(
        importer="analysis",
        forbidden=("torch", "ray"),
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
        exempt=("trainables.tune", "trainables.figure1.trainable"),
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


def upward(sources: Mapping[str, str]) -> list[str]:
    """Returns one line per import that goes up, or sideways, on its package's floors."""
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
                found.append(f"{module}:{line} imports {name}: {to[1]} does not stand below {path[0]}")
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


def test_the_way_up_is_found() -> None:
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
        "study.run:1 imports study.status: status does not stand below run",
        "study.records.schemas:1 imports study.spec.spec: spec does not stand below records",
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
        (
            "trainables.models.base",
            "import study.records.records",
            "trainables.models.base:1 imports study.records",
        ),
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
