"""The benchmark runs, prints its table and writes it."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import os
import weakref
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from trainables.benchmark import __main__ as benchmark
from trainables.benchmark import comparison, throughput
from trainables.benchmark.comparison import entries, make_work, measure
from trainables.benchmark.measure import cpu_peak_bytes, fastest, in_own_process
from trainables.benchmark.rivals import (
    equal_precision,
    lstm_precision,
    make_bound,
    make_naive,
    make_pack,
    make_peer,
    make_step,
)
from trainables.benchmark.roofline import make_matmul, step_flops
from trainables.config import paper_config
from trainables.data.batching import zipf_tokens
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import Training

CPU = torch.device("cpu")


@pytest.fixture
def _no_memory(monkeypatch):
    """Without the processes in which memory is measured."""
    monkeypatch.setattr(benchmark, "measure_memory", lambda size, corpus: 0.25)
    monkeypatch.setattr(comparison, "cpu_peak_bytes", lambda *arguments, num_threads: 123_000_000)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_no_memory")
def test_a_cell_is_measured_printed_and_written(tmp_path, capsys):
    file = tmp_path / "table.csv"
    assert benchmark.main(["--cells", "tiny/toy", "--rounds", "2", "--device", "cpu", "--csv", str(file)]) == 0
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == comparison.FIELDS
    assert [(r["path"], r["loss"]) for r in rows] == [
        ("peer", "CE"), ("naive", "AL flow"), ("step", "CE"), ("step", "AL flow"), ("step", "AL stop"), ("pack", "CE"),
        ("pack", "AL flow"), ("bound", "CE"), ("bound", "AL flow"),
    ]  # fmt: skip
    assert float(rows[0]["times_peer"]) == 1.0
    assert float(rows[1]["times_naive"]) == 1.0
    for row in rows:
        assert (row["trials"], row["device"], row["precision"]) == ("1", "cpu", "fp32")
        assert row["peak_memory_gb"] == "0.12"
        assert float(row["tokens_per_s"]) == pytest.approx(700 / (float(row["ms_per_window"]) / 1e3), rel=0.05)
        assert 0.0 < float(row["of_roofline"]) < 1.5
    output = capsys.readouterr().out
    assert "tiny/toy" in output
    assert "0.25 GB" in output


def test_memory_is_measured_in_a_process_of_its_own():
    assert 0.0 < benchmark.measure_memory("tiny", "toy") < 0.5


@pytest.mark.parametrize("arguments", [
        ["--cells", "huge/ptb"], ["--turbo"], ["--rounds", "many"], ["--device", "abacus"], ["--precision", "fp8"],
        ["--pack", "0"],
    ])  # fmt: skip
def test_unknown_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.usefixtures("_no_memory")
def test_a_drop_probability_of_ones_own(capsys):
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


def test_a_precision_or_device_that_is_not_there_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for arguments, message in [
        (["--precision", "tf32"], "precision 'tf32' needs a CUDA device"),
        (["--device", "cuda"], "--device cuda needs a GPU"),
    ]:
        with pytest.raises(SystemExit):
            benchmark.main(arguments)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cell", "share", "lstm", "softmax", "augmented"),
    [
        ("small/ptb", 0.5145, "2.7", "8.4", "1.4"),
        ("medium/ptb", 0.5145, "28", "27", "4.7"),
        ("large/ptb", 0.5145, "151", "63", "11"),
        ("small/wikitext2", 0.541, "2.7", "28", "5.0"),
        ("medium/wikitext2", 0.541, "28", "91", "16"),
        ("large/wikitext2", 0.541, "151", "210", "38"),
    ],
)
def test_operations_of_a_step(cell, share, lstm, softmax, augmented):
    """In GFLOP, by hand, rounded; the augmented term's with its gradient stopped.

    The share is that of a window's targets which are distinct, the mean over the training split.
    """
    config = dataclasses.replace(paper_config("real", *cell.split("/")), target_gradient="stop")
    found = step_flops(config, share * 700)
    rounded = [f"{x / 1e9:.{int(x < 1e10)}f}" for x in (found.lstm, found.softmax, found.augmented)]
    assert rounded == [lstm, softmax, augmented]
    assert found.total == found.lstm + found.softmax + found.augmented
    flowing = dataclasses.replace(config, target_gradient="flow")
    assert step_flops(flowing, share * 700).augmented == pytest.approx(3 * found.augmented)
    assert step_flops(paper_config("re", *cell.split("/")), share * 700).augmented == 0.0


def test_the_roofline_is_a_product_of_the_size_it_says():
    run, flops = make_matmul(CPU)
    held = [cell.cell_contents for cell in run.__closure__]
    assert flops == 2 * held[0][0].shape[0] ** 3


@pytest.mark.usefixtures("_no_memory")
def test_a_pack_counts_the_tokens_of_all_its_trials(monkeypatch):
    """With a clock that gives every path a second, the matrix product too."""
    monkeypatch.setattr(comparison, "fastest", lambda works, *arguments, **limits: [1.0] * len(works))
    rows = list(measure("tiny", "toy", rounds=2, limit_s=1.0, device=CPU, precision="fp32", packs=[1, 3]))
    by_name = {(r["path"], r["loss"], r["trials"]): r for r in rows}
    assert len(by_name) == len(rows) == 11
    one, three = (by_name["pack", "AL flow", k] for k in ("1", "3"))
    assert (one["tokens_per_s"], three["tokens_per_s"]) == ("700", "2100")
    assert (three["times_peer"], three["times_naive"]) == ("3.00", "3.00")
    flops = step_flops(paper_config("real", "tiny", "toy"), 0).total
    rate = make_matmul(CPU)[1]
    assert float(three["of_roofline"]) == pytest.approx(3 * float(one["gflop"]) * 1e9 / rate, abs=0.1)
    assert float(one["gflop"]) * 1e9 > flops > 0


def test_rows_come_one_by_one_and_only_the_peers_work_is_held_meanwhile(monkeypatch, capsys):
    class Work:
        def __call__(self):
            pass

    works = weakref.WeakSet()

    def warm_up(entry, device, precision):
        assert len(works) == (entry.path != "peer")
        if entry.path == "pack":
            raise torch.OutOfMemoryError
        works.add(work := Work())
        return work, 10**9

    monkeypatch.setattr(comparison, "fastest", lambda works, *arguments, **limits: [2.0, 1.0, 4.0][: len(works)])
    monkeypatch.setattr(comparison, "_warm_up", warm_up)
    rows = measure("tiny", "toy", rounds=2, limit_s=1.0, device=CPU, precision="fp32", packs=[2])
    assert next(rows)["path"] == "peer"
    assert {r["path"]: (r["times_peer"], r["times_naive"]) for r in rows if r["loss"] != "CE"} == {
        "naive": ("0.50", "1.00"), "step": ("0.50", "1.00"), "bound": ("0.50", "1.00"),
    }  # fmt: skip
    assert capsys.readouterr().out.count("pack of 2") == 2


def test_the_lstm_that_autocast_gives_fp16_is_told(monkeypatch):
    assert lstm_precision("bf16", torch.device("cuda")) == "fp16"
    assert [lstm_precision(p, torch.device("cuda")) for p in ("fp32", "tf32")] == ["fp32", "tf32"]
    monkeypatch.setattr(comparison, "fastest", lambda works, *arguments, **limits: [1.0] * len(works))
    monkeypatch.setattr(comparison, "_warm_up", lambda entry, *arguments: (lambda: None, 1))
    monkeypatch.setattr(comparison, "lstm_precision", lambda *arguments: "fp16")
    rows = list(measure("tiny", "toy", rounds=2, limit_s=1.0, device=CPU, precision="fp32", packs=[]))
    labels = {(r["path"], r["precision"]) for r in rows}
    assert labels == {("peer", "fp32/fp16"), ("bound", "fp32/fp16"), ("naive", "fp32"), ("step", "fp32")}


def test_a_row_is_written_before_the_next_is_measured(monkeypatch, tmp_path):
    file = tmp_path / "table.csv"

    def broken(*arguments, **options):
        yield dict.fromkeys(comparison.FIELDS, "x")
        assert len(file.read_text().splitlines()) == 2
        raise KeyError

    monkeypatch.setattr(benchmark, "measure", broken)
    with pytest.raises(KeyError):
        benchmark.main(["--cells", "tiny/toy", "--device", "cpu", "--csv", str(file)])
    assert file.read_text().splitlines()[1].startswith("x,x,")


def test_a_diverged_trial_of_a_pack_is_no_measurement():
    config = dataclasses.replace(paper_config("re", "tiny", "toy"), lr=1e38, max_grad_norm=1e38)
    run = make_pack(config, zipf_tokens(401, 20 * (35 * 4 + 1), seed=0), 2, device=CPU, precision="fp32")
    with pytest.raises(NonFiniteLossError):
        run()


def test_equal_precision_holds_for_cudnn_and_is_put_back():
    rnn = torch.backends.cudnn.rnn
    before = rnn.fp32_precision
    with equal_precision("fp32", CPU):
        assert rnn.fp32_precision != "tf32"
        assert not torch.backends.cudnn.allow_tf32  # torch's own getter, which raises if the settings disagree
    assert rnn.fp32_precision == before
    with pytest.raises(ValueError, match="needs a CUDA device"), equal_precision("tf32", CPU):
        pass


def test_works_are_timed_in_turn_and_the_least_counts():
    calls = []
    works = [lambda: calls.append("a"), lambda: (calls.append("b"), sum(range(1_000_000)))]
    a, b = fastest(works, CPU, rounds=3, limit_s=60.0)
    assert calls == ["a", "b"] * 3
    assert 0.0 <= a < b
    calls.clear()
    fastest(works, CPU, rounds=3, limit_s=0.0)
    assert calls == ["a", "b"] * 2


def test_a_process_of_its_own_returns_raises_and_is_another():
    assert in_own_process(os.getpid) != os.getpid()
    assert in_own_process(int, "12", base=3) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        in_own_process(int, "x")
    with pytest.raises(BrokenProcessPool):
        in_own_process(os.abort)


def test_memory_of_a_path_is_its_own():
    """A pack of many trials holds more than a step of one."""
    one, *_, many = (e for e in entries("tiny", "toy", None, [24]) if e.path in ("step", "pack"))
    small, large = (cpu_peak_bytes(make_work, entry, CPU, "fp32") for entry in (one, many))
    assert 0 < small < large - 50_000_000


def test_a_study_is_the_same_list_in_every_way(capsys, monkeypatch):
    """The processes' work is done here, one after another: what they claim is each trial once."""
    trained = []
    pack_epoch, alone_epoch = throughput.Pack.train_epoch, Training.train_epoch

    def in_pack(self):
        trained.extend(c.seed for c in self.occupied.values())
        return pack_epoch(self)

    def alone(self):
        trained.append(self.config.seed)
        return alone_epoch(self)

    monkeypatch.setattr(throughput.Pack, "train_epoch", in_pack)
    monkeypatch.setattr(Training, "train_epoch", alone)
    trials = throughput.study_trials("tiny", "toy", 5)
    job = throughput.Job(trials, num_windows=1, device="cpu", precision="fp32", slots=0)
    expected = sorted(i for i, config in enumerate(trials) for _ in range(config.max_epochs))
    assert len(set(expected)) == 5
    assert len({config.drop_prob for config in trials}) > 1
    for slots, warm_up in ((0, [0]), (2, [])):
        context = multiprocessing.get_context("spawn")
        trained.clear()
        throughput._work(dataclasses.replace(job, slots=slots), context.Value("i", 0), context.Barrier(1))
        assert sorted(trained) == sorted(expected + warm_up)


def test_trials_per_hour_are_printed_with_their_ratio(capsys, monkeypatch):
    rates = {(0, 1): 10.0, (0, 2): 19.0, (4, 1): 25.0}
    monkeypatch.setattr(throughput, "usable_cores", lambda: 2)
    monkeypatch.setattr(throughput, "trials_per_hour", lambda job, processes: rates[job.slots, processes])
    study = ["--study", "--cells", "tiny/toy", "--device", "cpu"]
    assert benchmark.main(study) == 0
    output = capsys.readouterr().out
    assert "2 processes" in output
    assert "1.90" in output
    assert "pack" not in output
    assert benchmark.main([*study, "--pack", "4"]) == 0
    assert "2.50" in capsys.readouterr().out


def test_a_process_that_fails_is_told(capfd):
    trials = throughput.study_trials("tiny", "toy", 1)
    broken = throughput.Job(trials, num_windows=0, device="cpu", precision="fp32", slots=1)
    with pytest.raises(RuntimeError, match="did not start"):
        throughput.trials_per_hour(broken, 1)
    assert "must fill one window" in capfd.readouterr().err
