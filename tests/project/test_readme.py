"""The READMEs match the code: commands parse, links exist, examples use what exists."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import io
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("study", "trainables", "analysis")
ENTRY_POINTS = {
    "study.run",
    "study.reproduce",
    "study.status",
    "study.benchmark",
    "study.benchmark.driver",
    "analysis.report",
    "trainables.benchmark",
}
OPERATORS = {"&&", "||", ";", "|", "&", ">"}
README_FOLDERS = (".", *PACKAGES)


@pytest.fixture(scope="module")
def readmes(repo_root: Path) -> dict[str, str]:
    """Folder -> its README."""
    return {folder: (repo_root / folder / "README.md").read_text("utf-8") for folder in README_FOLDERS}


@pytest.fixture(scope="module")
def readme(readmes: dict[str, str]) -> str:
    """The project's own."""
    return readmes["."]


@pytest.fixture(scope="module")
def everything(readmes: dict[str, str]) -> str:
    """All of them, the project's own first."""
    return "\n\n".join(readmes.values())


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of the fenced code blocks in any of these languages."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)
    return [content for language, content in fences if language in languages]


def commands(script: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (module, arguments) of every ``python -m module`` in a shell script, also inside a quoted command."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for token in [*lexer, ";"]:
            if " -m " in token:
                yield from commands(token)
            elif token not in OPERATORS:
                command.append(token)
            else:
                for start in range(len(command) - 2):
                    if command[start] in {"python", "python3"} and command[start + 1] == "-m":
                        yield command[start + 2], command[start + 3 :]
                if command[-2:-1] == ["-m"]:  # no argument at all
                    yield command[-1], []
                command = []


def project_commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of this project in a Markdown text, without repetitions."""
    found = [c for block in blocks(text, "sh", "bash") for c in commands(block)]
    return [c for i, c in enumerate(found) if c[0].split(".")[0] in PACKAGES and c not in found[:i]]


def entry(module: str) -> str:
    """The module that ``python -m module`` runs."""
    is_package = hasattr(importlib.import_module(module), "__path__")
    return f"{module}.__main__" if is_package else module


def refusal(module: str, arguments: list[str]) -> str | None:
    """The error of the module's own parser for these arguments, or None."""
    parser: argparse.ArgumentParser = importlib.import_module(entry(module)).build_parser()
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parser.parse_args(arguments)
    except SystemExit:
        return errors.getvalue()
    return None


def test_every_command_is_accepted_by_its_parser(everything: str) -> None:
    found = project_commands(everything)
    assert {module for module, _ in found} == ENTRY_POINTS
    refused = {f"{m} {shlex.join(a)}": said for m, a in found if (said := refusal(m, a)) is not None}
    assert not refused, "\n".join(f"{command}: {said}" for command, said in refused.items())


@pytest.mark.parametrize(
    "line",
    [
        "python -m study.run --variant real --size tiny --num-sample 3",
        "pip install -e . && python -m study.run --variant real --size tinny",
        "X=1 python -m study.run --size tiny  # no variant",
        "python -m study.run --variant real \\\n  --size medium --epochs 3",
        "ray exec cluster.yaml 'cd project && python -m study.run --variant real --size medium --gpu 1'",
        "ray job submit --no-wait -- python -m study.run --variant real --size medium surplus",
    ],
)
def test_a_planted_mistake_in_a_command_is_found(line: str) -> None:
    found = project_commands(f"text\n\n```sh\n{line}\n```\n")
    assert len(found) == 1
    said = refusal(*found[0])
    assert said is not None
    assert "error:" in said


def test_the_first_two_commands_install_run_and_test(readme: str, repo_root: Path) -> None:
    first, second = [line for block in blocks(readme, "sh") for line in block.splitlines()][:2]
    assert first == "pip install -e . && python -m study.run --variant real --size tiny --corpus toy"
    assert second == "pip install -e '.[test]' && python -m pytest"
    extras = tomllib.loads((repo_root / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[(\w+)\]", readme)) <= set(extras)


def flags(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Yields (command, flag) of a parser and of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from flags(inner)
        else:
            yield parser.prog, action


@pytest.mark.parametrize("module", sorted(ENTRY_POINTS))
def test_every_flag_has_a_help_text(module: str) -> None:
    parser = importlib.import_module(entry(module)).build_parser()
    assert not [f"{prog} {action.option_strings}" for prog, action in flags(parser) if not action.help]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    """Links within the project that lead nowhere: a missing file, or a heading that does not exist."""

    def leads_somewhere(target: str) -> bool:
        file, _, heading = target.partition("#")
        if not (folder / file).exists():
            return False
        return not heading or heading in anchors((folder / file).read_text("utf-8") if file else text)

    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)
    return [target for target in targets if "://" not in target and not leads_somewhere(target)]


def test_links_within_the_project_exist(readmes: dict[str, str], repo_root: Path) -> None:
    assert {folder: broken_links(text, repo_root / folder) for folder, text in readmes.items()} == {
        folder: [] for folder in readmes
    }


def test_a_planted_broken_link_is_found(repo_root: Path) -> None:
    text = (
        "# One heading\n[a](study/none.py) [b](#no-heading) [c](#one-heading) [d](pyproject.toml) [e](https://x.org)\n"
        "[f](study/README.md#resuming) [g](study/README.md#resumed)\n"
    )
    assert broken_links(text, repo_root) == ["study/none.py", "#no-heading", "study/README.md#resumed"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_packages_table_names_its_folders_and_modules(package: str, readmes: dict[str, str], repo_root: Path) -> None:
    """Every folder has a line in the table."""
    table = re.search(r"^\| \| \|\n.*?\n\n", readmes[package], flags=re.MULTILINE | re.DOTALL)
    assert table
    named = [path.rstrip("/") for path in re.findall(r"\]\(([\w/.]+)\)", table[0])]
    there = {
        path.name
        for path in (repo_root / package).iterdir()
        if (path.is_dir() and path.name != "__pycache__") or (path.suffix == ".py" and path.name != "__init__.py")
    }
    assert sorted(named) == sorted(there)


def test_examples_in_python_are_entries_of_the_registries(everything: str) -> None:
    """Each example builds an object of the registry that it is to be added to."""
    from study.records import parameters
    from trainables import recipes

    examples = [textwrap.dedent(example) for example in blocks(everything, "python")]
    assert len(examples) >= 3
    for example in examples:
        for statement in ast.parse(example).body:
            assert isinstance(statement, ast.Expr), "an example is an entry, an expression"
            eval(ast.unparse(statement), {**vars(recipes), **vars(parameters)})


def unknown_columns(query: str) -> set[str]:
    """Words of a DuckDB query that are neither SQL, nor one of its aliases, nor a column of a table that it reads."""
    from study.records.records import SCHEMAS

    keywords = "select from where and as group order by all desc asc is not null limit count min avg round join using"
    words = re.findall(r"[a-z_]\w*", re.sub(r"'[^']*'|--.*", "", query.lower()))
    aliases = re.findall(r"\bas (\w+)", query.lower())
    columns = {name for table in re.findall(r"results/(\w+)/", query) for name in SCHEMAS[table].names}
    known = {*keywords.split(), *aliases, *columns, "corpus", "size", "variant"}
    return set(words) - known - {"read_parquet", "hive_partitioning", "true", "exp", "ln"}


def test_the_query_uses_columns_of_the_records(everything: str) -> None:
    queries = blocks(everything, "sql")
    assert len(queries) == 1
    assert unknown_columns(queries[0]) == set()
    assert unknown_columns("SELECT valid_perplexity FROM read_parquet('results/trials/x')") == {"valid_perplexity"}


def test_no_placeholder_is_left(everything: str) -> None:
    assert re.findall(r"<!-- MEASURED.*|@[A-Z]{3,}@", everything) == []
