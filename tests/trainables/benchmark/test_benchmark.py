"""The benchmark runs, prints its table and writes it."""

from __future__ import annotations

import csv
import dataclasses
import weakref

import pytest
import torch

from trainables.benchmark import __main__ as benchmark
from trainables.benchmark import comparison, paths, study
from trainables.benchmark.comparison import measure
from trainables.benchmark.measure import fastest
from trainables.benchmark.paths import equal_precision, lstm_precision, make_pack, make_peer
from trainables.config import paper_config
from trainables.data.batching import zipf_tokens
from trainables.trial.epoch_result import NonFiniteLossError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_setting_is_measured_printed_and_written(tmp_path, capsys):
    file = tmp_path / "table.csv"
    assert benchmark.main(["--settings", "tiny/toy", "--rounds", "2", "--device", "cpu", "--csv", str(file)]) == 0
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == comparison.FIELDS
    assert [(r["path"], r["loss"]) for r in rows] == [
        ("peer", "CE"), ("step", "CE"), ("step", "AL flow"), ("step", "AL stop"), ("pack", "CE"), ("pack", "AL flow"),
    ]  # fmt: skip
    assert float(rows[0]["times_peer"]) == 1.0
    for row in rows:
        assert (row["trials"], row["device"], row["precision"]) == ("1", "cpu", "fp32")
        assert float(row["tokens_per_s"]) == pytest.approx(700 / (float(row["ms_per_window"]) / 1e3), rel=0.05)
    assert "tiny/toy" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [
        ["--settings", "huge/ptb"], ["--turbo"], ["--rounds", "many"], ["--device", "abacus"], ["--precision", "fp8"],
        ["--pack", "0"],
    ])  # fmt: skip
def test_unknown_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_drop_probability_of_ones_own(capsys):
    assert benchmark.main(["--settings", "tiny/toy", "--rounds", "2", "--drop-prob", "0.65"]) == 0
    assert capsys.readouterr().out.count("0.65") >= 6
    with pytest.raises(SystemExit):
        benchmark.main(["--settings", "tiny/toy", "--drop-prob", "1.0"])
    assert "drop_prob must be a number in [0, 1), got 1.0" in capsys.readouterr().err


def test_the_peer_trains(monkeypatch):
    """A step that did nothing would be the fastest."""
    config = paper_config("re", "tiny", "toy")
    made = []
    original = paths.Peer
    monkeypatch.setattr(paths, "Peer", lambda config: made.append(original(config)) or made[0])
    tokens = zipf_tokens(config.vocab_size, config.batch_size * (config.bptt + 1), seed=0)
    run = make_peer(config, tokens, device=CPU, precision="fp32")
    before = [p.detach().clone() for p in made[0].parameters()]
    assert len(before) >= 7
    run()
    assert not any(torch.equal(p, old) for p, old in zip(made[0].parameters(), before, strict=True))


def test_a_precision_or_device_that_is_not_there_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for arguments, message in [
        (["--precision", "tf32"], "precision 'tf32' needs a CUDA device"),
        (["--device", "cuda"], "--device cuda needs a GPU"),
    ]:
        with pytest.raises(SystemExit):
            benchmark.main(arguments)
        assert message in capsys.readouterr().err


def test_a_pack_counts_the_tokens_of_all_its_trials(monkeypatch):
    """With a clock that gives every path a second."""
    monkeypatch.setattr(comparison, "fastest", lambda works, *arguments, **limits: [1.0] * len(works))
    rows = list(measure("tiny", "toy", rounds=2, limit_s=1.0, device=CPU, precision="fp32", packs=[1, 3]))
    by_name = {(r["path"], r["loss"], r["trials"]): r for r in rows}
    assert len(by_name) == len(rows) == 8
    one, three = (by_name["pack", "AL flow", k] for k in ("1", "3"))
    assert (one["tokens_per_s"], three["tokens_per_s"]) == ("700", "2100")
    assert three["times_peer"] == "3.00"


def test_rows_come_one_by_one_and_only_the_peers_work_is_held_meanwhile(monkeypatch, capsys):
    class Work:
        def __call__(self):
            pass

    works = weakref.WeakSet()

    def warm_up(make, device):
        entry = make.args[0]
        assert len(works) == (entry.path != "peer")
        if entry.path == "pack":
            raise torch.OutOfMemoryError
        works.add(work := Work())
        return work, 10**9

    monkeypatch.setattr(comparison, "fastest", lambda works, *arguments, **limits: [2.0, 4.0])
    monkeypatch.setattr(comparison, "warm_up", warm_up)
    rows = measure("tiny", "toy", rounds=2, limit_s=1.0, device=CPU, precision="fp32", packs=[2])
    assert next(rows)["path"] == "peer"
    assert [(r["path"], r["times_peer"], r["peak_memory_gb"]) for r in rows] == [("step", "0.50", "1.00")] * 3
    assert capsys.readouterr().out.count("pack of 2") == 2


def test_the_lstm_that_autocast_gives_fp16_is_shown_as_fp16(monkeypatch):
    assert lstm_precision("bf16", torch.device("cuda")) == "fp16"
    assert [lstm_precision(p, torch.device("cuda")) for p in ("fp32", "tf32")] == ["fp32", "tf32"]
    monkeypatch.setattr(comparison, "fastest", lambda works, *arguments, **limits: [1.0] * len(works))
    monkeypatch.setattr(comparison, "warm_up", lambda make, device: (lambda: None, 1))
    monkeypatch.setattr(comparison, "lstm_precision", lambda *arguments: "fp16")
    rows = list(measure("tiny", "toy", rounds=2, limit_s=1.0, device=CPU, precision="fp32", packs=[]))
    assert {(r["path"], r["precision"]) for r in rows} == {("peer", "fp32/fp16"), ("step", "fp32")}


def test_a_row_is_written_before_the_next_is_measured(monkeypatch, tmp_path):
    file = tmp_path / "table.csv"

    def broken(*arguments, **options):
        yield dict.fromkeys(comparison.FIELDS, "x")
        assert len(file.read_text().splitlines()) == 2
        raise KeyError

    monkeypatch.setattr(benchmark, "measure", broken)
    with pytest.raises(KeyError):
        benchmark.main(["--settings", "tiny/toy", "--device", "cpu", "--csv", str(file)])
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


def test_trials_per_hour_are_printed_with_their_ratio(capsys, monkeypatch):
    rates = {(1, 1): 10.0, (2, 1): 19.0, (1, 4): 25.0}
    monkeypatch.setattr(study, "_usable_cores", lambda: 2)
    monkeypatch.setattr(
        study, "trials_per_hour", lambda trials, *, num_processes, num_slots, **others: rates[num_processes, num_slots]
    )
    options = ["--study", "--settings", "tiny/toy", "--device", "cpu"]
    assert benchmark.main(options) == 0
    output = capsys.readouterr().out
    assert "2 processes" in output
    assert "1.90" in output
    assert "pack" not in output
    assert benchmark.main([*options, "--pack", "4"]) == 0
    assert "2.50" in capsys.readouterr().out


def test_whole_trials_are_trained_in_processes_and_packs():
    trials = [dataclasses.replace(paper_config("real", "tiny", "toy"), seed=seed) for seed in range(3)]
    for num_slots in (1, 2):
        rate = study.trials_per_hour(
            trials, num_processes=1, num_slots=num_slots, device="cpu", precision="fp32", num_windows=1
        )
        assert 100 < rate < 1e6
    with pytest.raises(ValueError, match="must fill one window"):
        study.train(trials, num_windows=0, num_epochs=1, device="cpu", precision="fp32")
