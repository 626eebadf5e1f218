"""The benchmark runs, prints its table and writes it."""

from __future__ import annotations

import csv

import pytest
import torch

from trainables import benchmark
from trainables.batching import zipf_tokens
from trainables.config import paper_config
from trainables.rivals import make_bound, make_naive, make_peer, make_step


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_cell_is_measured_printed_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "measure_memory", lambda size, corpus: 0.25)
    file = tmp_path / "table.csv"
    assert benchmark.main(["--cells", "tiny/toy", "--rounds", "2", "--csv", str(file)]) == 0
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["path"], r["loss"]) for r in rows] == [
        ("peer", "CE"), ("step", "CE"), ("step", "AL flow"), ("step", "AL stop"), ("naive", "AL flow"),
        ("bound", "CE"), ("bound", "AL flow"),
    ]  # fmt: skip
    assert float(rows[0]["times_peer"]) == 1.0
    assert float(rows[4]["times_naive"]) == 1.0
    for row in rows:
        assert float(row["tokens_per_s"]) == pytest.approx(700 / (float(row["ms_per_window"]) / 1e3), rel=0.05)
    output = capsys.readouterr().out
    assert "tiny/toy" in output
    assert "0.25 GB" in output


def test_memory_is_measured_in_a_process_of_its_own():
    assert 0.0 < benchmark.measure_memory("tiny", "toy") < 0.5


@pytest.mark.parametrize("arguments", [["--cells", "huge/ptb"], ["--turbo"], ["--rounds", "many"]])
def test_unknown_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_drop_probability_of_ones_own(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "measure_memory", lambda size, corpus: 0.25)
    assert benchmark.main(["--cells", "tiny/toy", "--rounds", "2", "--drop-prob", "0.65"]) == 0
    assert capsys.readouterr().out.count("0.65") >= 7
    with pytest.raises(SystemExit):
        benchmark.main(["--cells", "tiny/toy", "--drop-prob", "1.0"])
    assert "drop_prob must be a number in [0, 1), got 1.0" in capsys.readouterr().err


@pytest.mark.parametrize("make", [make_step, make_peer, make_naive, make_bound])
def test_every_path_trains(make):
    """A step that did nothing would be the fastest."""
    config = paper_config("re", "tiny", "toy")
    torch.manual_seed(0)
    run = make(config)
    held = [cell.cell_contents for cell in run.__closure__]
    modules = [m for h in held for m in (h, getattr(h, "model", None)) if isinstance(m, torch.nn.Module)]
    parameters = {id(p): p for m in modules for p in m.parameters()}
    before = {key: p.detach().clone() for key, p in parameters.items()}
    tokens = zipf_tokens(config.vocab_size, config.batch_size * (config.bptt + 1), seed=0).view(-1, config.batch_size)
    run((tokens[:-1], tokens[1:]))
    unchanged = [p for key, p in parameters.items() if torch.equal(p, before[key])]
    assert len(parameters) >= 7
    if make is make_bound:  # the model's own layers stand idle: nn.LSTM's take their place
        idle = {id(p) for m in modules if hasattr(m, "layers") for p in m.layers.parameters()}
        unchanged = [p for p in unchanged if id(p) not in idle]
    assert unchanged == []
