from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from trainables.config import paper_config
from trainables.pack.probe import in_own_process, probe_step_seconds
from trainables.trial.training import Training

CONFIG = paper_config("real", "tiny", "toy")


def test_it_times_training_and_both_evaluations_without_a_corpus(monkeypatch):
    read = []
    evaluate = Training.evaluate

    def counted(self, tokens, **options):
        read.append((len(tokens), options["batch_size"]))
        return evaluate(self, tokens, **options)

    monkeypatch.setattr(Training, "evaluate", counted)
    probe = probe_step_seconds(CONFIG, device="cpu", limit_s=1e-9)
    window = CONFIG.batch_size * CONFIG.bptt
    assert read == [(window, CONFIG.batch_size), (70, 1)]  # each once in any case
    assert 0 < probe.window_s < 5
    assert 0 < probe.evaluation_token_s * window < 5
    assert 0 < probe.single_stream_token_s < 1
    assert probe.peak_memory_bytes > 10_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_s": 0.0}, "limit_s must be above 0, got 0.0"),
        ({"limit_s": 1.0, "precision": "tf32"}, "precision 'tf32' needs a CUDA device"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        probe_step_seconds(CONFIG, device="cpu", **options)


def test_in_own_process_returns_and_raises():
    assert in_own_process(os.getpid) != os.getpid()
    assert in_own_process(int, "12", base=3) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        in_own_process(int, "x")
    with pytest.raises(BrokenProcessPool):
        in_own_process(os.abort)
