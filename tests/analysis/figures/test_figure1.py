"""Figure 1: which runs count, and what is drawn of them and of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from analysis import paper
from analysis.figures import FIGURES
from analysis.figures.figure1 import Point, SubspaceInfo, draw_subspace, subspace_distances
from analysis.records.load import load_results
from study.records.records import Records, Setting
from trainables.recipes import FIGURE1

NUM_EPOCHS = FIGURE1.num_epochs


def write(path: Path, beta: float, tau: float, seed: int, distances: Sequence[float | None], **columns: Any) -> str:
    """A run whose last epochs have these distances; complete unless ``status`` says otherwise."""
    columns = {"study": "s", "num_epochs": NUM_EPOCHS, "target_gradient": FIGURE1.target_gradient} | columns
    trial_id, study = f"beta{beta:g}-tau{tau:g}-s{seed}", columns["study"]
    last = columns.pop("last_epoch", columns["num_epochs"])
    status = columns.pop("status", "complete")
    rows = [
        {
            "trial_id": trial_id, "attempt": 1, "epoch": last - len(distances) + i, "beta": beta, "tau": tau,
            "seed": seed, "subspace_distance": distance, "hidden_size": FIGURE1.hidden_size,
            "num_tokens": FIGURE1.num_tokens, "status": status if i == len(distances) else "interrupted", **columns,
        }
        for i, distance in enumerate(distances, start=1)
    ]  # fmt: skip
    Records(str(path), Setting("ptb", "figure1", "al"), study).write("subspace", trial_id, 1, rows)
    return trial_id


def read(path: Path) -> SubspaceInfo:
    return subspace_distances(load_results([str(path)]))


def test_the_last_epoch_of_each_complete_run(tmp_path: Path) -> None:
    ids = [write(tmp_path, 0.5, 10.0, seed, [0.9, last]) for seed, last in ((0, 0.3), (1, 0.4), (2, 0.35))]
    write(tmp_path, 0.5, 10.0, 3, [0.9, 0.8], last_epoch=NUM_EPOCHS - 1, status="interrupted")
    write(tmp_path, 0.5, 10.0, 4, [0.9, None], last_epoch=3, status="failed")
    low, high = scipy.stats.t.interval(0.95, 2, loc=0.35, scale=scipy.stats.sem([0.3, 0.4, 0.35]))
    expected = Point(
        panel="a", target_gradient=FIGURE1.target_gradient, beta=0.5, tau=10.0, distances=(0.3, 0.4, 0.35),
        mean=pytest.approx(0.35), low=pytest.approx(low), high=pytest.approx(high), num_unfinished=1, num_failed=1,
        centred=(), explained=(), last_epochs=(NUM_EPOCHS,) * 3, other_setting="", study="s", trial_ids=tuple(ids),
    )  # fmt: skip
    assert read(tmp_path) == SubspaceInfo(points=(expected,))


def test_beta_1_at_tau_10_is_in_both_panels(tmp_path: Path) -> None:
    for beta, tau in ((1.0, 20.0), (1.0, 10.0), (0.0, 10.0), (0.5, 5.0)):
        write(tmp_path, beta, tau, 0, [0.5])
    assert [(p.panel, p.beta, p.tau, p.at) for p in read(tmp_path).points] == [
        ("a", 0.0, 10.0, 0.0), ("a", 1.0, 10.0, 1.0), ("b", 1.0, 10.0, 10.0), ("b", 1.0, 20.0, 20.0)
    ]  # fmt: skip


def test_a_run_that_ended_where_the_distance_no_longer_fell_is_complete(tmp_path: Path) -> None:
    write(tmp_path, 0.0, 10.0, 0, [0.97, 0.97], last_epoch=25)
    write(tmp_path, 0.0, 10.0, 1, [0.96])
    (point,) = read(tmp_path).points
    assert (point.distances, point.last_epochs, point.num_unfinished) == ((0.97, 0.96), (25, NUM_EPOCHS), 0)
    texts = [text.get_text() for text in draw_subspace(read(tmp_path)).axes[0].texts]
    assert any(f"mean of 2 runs of 25 to {NUM_EPOCHS} epochs" in text for text in texts)


def test_centred_distances_and_explained_shares_where_all_runs_have_them(tmp_path: Path) -> None:
    write(tmp_path, 1.0, 10.0, 0, [0.06], centred_distance=0.02, explained_share=0.9)
    write(tmp_path, 1.0, 10.0, 1, [0.06], centred_distance=0.04, explained_share=0.8)
    write(tmp_path, 1.0, 5.0, 0, [0.07])  # recorded before there were such columns
    old, new = (p for p in read(tmp_path).points if p.panel == "b")
    assert (old.centred, old.explained) == ((), ())
    assert (new.centred, new.explained) == ((0.02, 0.04), (0.9, 0.8))
    b = draw_subspace(read(tmp_path)).axes[1]
    (diamonds,) = (line for line in b.lines if line.get_marker() == "D" and len(line.get_xdata()))
    assert (list(diamonds.get_xdata()), list(diamonds.get_ydata())) == ([10.0], pytest.approx([0.03]))
    frame = read(tmp_path).frame()
    assert list(frame.loc[frame["panel"] == "b", "centred_distances"])[:2] == ["", "0.02 0.04"]


def test_the_floor_is_drawn_and_explained(tmp_path: Path) -> None:
    write(tmp_path, 1.0, 10.0, 0, [0.06])
    b = draw_subspace(read(tmp_path)).axes[1]
    (floor,) = (line for line in b.lines if line.get_linestyle() == "--")
    assert list(floor.get_ydata()) == pytest.approx([300**-0.5] * 2)
    assert "1/sqrt(300) = 0.058" in [text.get_text() for text in b.texts]
    caption = FIGURES["figure1"].caption
    assert "1/sqrt(300) = 0.058" in caption
    assert "W = L B + 1 c^T" in caption
    assert "can come to 0" in caption


def test_one_run_has_no_interval(tmp_path: Path) -> None:
    write(tmp_path, 0.0, 10.0, 0, [0.97])
    (point,) = read(tmp_path).points
    assert (point.mean, point.low, point.high) == (0.97, None, None)


def test_the_papers_setting_stands_before_more_runs_of_another(tmp_path: Path) -> None:
    write(tmp_path, 0.0, 10.0, 0, [0.9], study="full")
    for seed in range(3):
        write(tmp_path, 0.0, 10.0, seed, [0.5], study="short", num_epochs=NUM_EPOCHS // 2)
    assert [p.study for p in read(tmp_path).points] == ["full"]
    other = "flow" if FIGURE1.target_gradient == "stop" else "stop"
    write(tmp_path, 0.0, 10.0, 0, [0.8], study="other", target_gradient=other, num_epochs=NUM_EPOCHS // 2)
    points = read(tmp_path).points
    assert [(p.target_gradient, p.study) for p in points] == [(FIGURE1.target_gradient, "full"), (other, "other")]
    assert [p.other_setting for p in points] == ["", f"{NUM_EPOCHS // 2} epochs, not {NUM_EPOCHS}"]


def test_empty_until_a_run_is_complete(tmp_path: Path) -> None:
    assert read(tmp_path) == SubspaceInfo(points=())
    write(tmp_path, 0.0, 10.0, 0, [0.9], last_epoch=1, status="interrupted")
    found = read(tmp_path)
    assert found.is_empty
    assert found.points[0].num_unfinished == 1


def test_the_picture_shows_the_runs_and_the_papers_readings(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path, 0.0, 10.0, seed, [0.97 + seed / 100])
        write(tmp_path, 1.0, 10.0, seed, [0.06 + seed / 100])
    info = read(tmp_path)
    a, b = draw_subspace(info).axes
    means = [line for line in a.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert means[0].get_ydata() == pytest.approx([0.98, 0.07])
    texts = " ".join(text.get_text() for ax in (a, b) for text in ax.texts)
    assert all(reading.source in texts for reading in paper.FIGURE_1)
    assert f"mean of 3 runs of {NUM_EPOCHS} epochs" in texts
    frame = info.frame()
    assert frame.loc[0, "distances"] == "0.97 0.98 0.99"
    assert (frame["source"] != "ours").sum() == len(paper.FIGURE_1)
