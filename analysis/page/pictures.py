"""Writes the figures, and embeds each in the page: as SVG, or as PNG where the SVG is large."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from analysis.figures import FIGURES, drawings, style
from analysis.figures.figure import Drawing, Figure
from analysis.page.page import Picture
from analysis.records.load import Results
from analysis.records.sources import keys_of, write_csv

SUFFIXES = (".png", ".svg", ".csv")
_LARGEST_SVG = 150_000  # bytes; an image of the same picture has 50,000 to 150,000
_CSS_PIXELS_PER_INCH = 96
_MANY_EPOCHS = 20_000
"""Epoch rows from which on figures are drawn in parallel; with fewer, starting processes takes longer than drawing."""
_MOST_PROCESSES = 4


Pictures = tuple[list[Picture], list[Figure]]


def write_pictures(results: Results, folder: Path, *, only: Collection[str] | None = None) -> Pictures:
    """Draws and writes the figures, and removes what an earlier report left of them.

    Args:
        results: the records.
        folder: for ``NAME.png``, ``NAME.svg`` and ``NAME.csv``; the page stands in the folder above.
        only: names of figures; all by default.

    Returns:
        The pictures, and the figures that have nothing to show.
    """
    with writing_pictures(results, folder, only=only) as written:
        return written()


@contextmanager
def writing_pictures(
    results: Results, folder: Path, *, only: Collection[str] | None = None
) -> Iterator[Callable[[], Pictures]]:
    """As ``write_pictures``, but with many records in other processes, until the yielded function is called."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in FIGURES if only is None or name in only]
    for name in names:
        _remove(folder, name)
    num_processes = min(len(names), os.cpu_count() or 1, _MOST_PROCESSES)
    if num_processes < 2 or len(results.epochs) < _MANY_EPOCHS:
        yield lambda: _drawn_and_skipped(names, [_write_figure(results, folder, name) for name in names])
        return
    # Started afresh rather than forked: Arrow's threads do not survive a fork.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=spawn, initializer=_set_results, initargs=(results,)) as pool:
        futures = [pool.submit(_write_in_worker, folder, name) for name in names]
        yield lambda: _drawn_and_skipped(names, [future.result() for future in futures])


def _drawn_and_skipped(names: Sequence[str], found: Sequence[list[Picture]]) -> Pictures:
    skipped = [FIGURES[name] for name, pictures in zip(names, found, strict=True) if not pictures]
    return [picture for pictures in found for picture in pictures], skipped


_worker_results: list[Results] = []


def _set_results(results: Results) -> None:
    _worker_results.append(results)


def _write_in_worker(folder: Path, name: str) -> list[Picture]:
    return _write_figure(_worker_results[0], folder, name)


def _write_figure(results: Results, folder: Path, name: str) -> list[Picture]:
    return [_write(drawing, folder) for drawing in drawings(results, only=[name])]


def _remove(folder: Path, name: str) -> None:
    ours = re.compile(rf"{re.escape(name)}(_[a-z0-9-]+)?({'|'.join(map(re.escape, SUFFIXES))})")
    for path in folder.glob(f"{name}*"):
        if ours.fullmatch(path.name):
            path.unlink()


def _write(drawing: Drawing, folder: Path) -> Picture:
    style.save(drawing.figure, folder, drawing.name)
    frame = drawing.info.frame()
    write_csv(frame, folder / f"{drawing.name}.csv")
    width, height = (round(_CSS_PIXELS_PER_INCH * inches) for inches in drawing.figure.get_size_inches())
    return Picture(
        name=drawing.name,
        title=drawing.title,
        caption=drawing.caption,
        section=drawing.section,
        uri=_data_uri(folder, drawing.name),
        width=width,
        height=height,
        files=tuple(f"{folder.name}/{drawing.name}{suffix}" for suffix in SUFFIXES),
        trials=keys_of(frame),
    )


def _data_uri(folder: Path, name: str) -> str:
    content, kind = (folder / f"{name}.svg").read_bytes(), "svg+xml"
    if len(content) > _LARGEST_SVG:
        content, kind = (folder / f"{name}.png").read_bytes(), "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
