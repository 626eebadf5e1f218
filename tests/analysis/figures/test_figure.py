"""The registry of figures: what is drawn, how parts are named."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from analysis.figures import figure as registry
from analysis.figures.figure import FIGURES, Part, drawings, register
from analysis.records.load import Results, empty_frame

EMPTY = Results(
    storages=("nowhere",), trials=empty_frame("trials"), epochs=empty_frame("epochs"), runs=empty_frame("runs")
)


@dataclass(frozen=True)
class Numbers:
    numbers: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        return not self.numbers

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({"number": self.numbers})


def draw(info: Numbers) -> Canvas:
    return Canvas(figsize=(len(info.numbers), 1))


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of a figure in one piece, one in two parts, and one without data."""
    monkeypatch.setattr(registry, "FIGURES", {})
    register("whole", title="Whole", caption="All.", draw=draw, section="paper")(lambda _: Numbers((1, 2)))
    register(
        "split", title="Split", caption="Some.", draw=draw,
        parts=lambda info: [Part(f"n-{n}", f"number {n}", Numbers((n,))) for n in info.numbers],
    )(lambda _: Numbers((3, 4)))  # fmt: skip
    register("none", title="None", caption="", draw=draw, needs="a number")(lambda _: Numbers(()))


@pytest.mark.usefixtures("three")
def test_drawings_are_named_and_carry_their_own_info() -> None:
    found = list(drawings(EMPTY))
    assert [(d.name, d.title, d.caption, d.section) for d in found] == [
        ("whole", "Whole", "All.", "paper"),
        ("split_n-3", "Split: number 3", "Some.", "study"),
        ("split_n-4", "Split: number 4", "Some.", "study"),
    ]
    assert [d.info for d in found] == [Numbers((1, 2)), Numbers((3,)), Numbers((4,))]
    assert found[0].figure.get_size_inches()[0] == 2


@pytest.mark.usefixtures("three")
def test_only_some() -> None:
    assert [d.name for d in drawings(EMPTY, only=["split", "none"])] == ["split_n-3", "split_n-4"]
    assert list(drawings(EMPTY, only=[])) == []
    with pytest.raises(ValueError, match="must be one of whole, split, none, got 'table1'"):
        list(drawings(EMPTY, only=["whole", "table1"]))


def test_a_name_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FIGURES", dict(FIGURES))
    register("one", title="", caption="", draw=draw)(lambda _: Numbers(()))
    with pytest.raises(ValueError, match="must be new, got 'one'"):
        register("one", title="", caption="", draw=draw)(lambda _: Numbers(()))
