"""The number of slots of a pack, on a simulated GPU."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from study.driver import driver, packs
from study.driver.driver import RunOptions
from study.driver.packs import check_pack, measure_pack
from study.driver.ray_session import StudyError
from study.records.records import Setting
from study.spec.spec import StudySpec
from tests.support import tanh_cell
from trainables.recipes import VARIANTS

ONE = [StudySpec(setting=Setting("ptb", "small", "real"), num_samples=1, max_epochs=1)]
ALL = [StudySpec(setting=Setting("ptb", "small", variant), num_samples=1, max_epochs=1) for variant in VARIANTS]


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that holds 20 slots, 10 of the augmented variants, and that eight slots fill."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(packs, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(packs, "measure_num_slots", lambda config, **_: 10 if config.augmented_loss else 20)
    monkeypatch.setattr(packs, "_tokens_per_s", lambda spec, num_slots: min(num_slots, 8) ** 0.9)


def test_auto_stops_where_more_slots_bring_little(gpu, capsys):
    assert check_pack(ONE, None, device="cuda", console=Console()) == 8
    assert "--pack auto: 8 slots (memory holds 10)" in capsys.readouterr().out


def test_auto_stays_within_the_memory_that_the_variants_share(gpu):
    assert measure_pack(ALL, None)[0] == 2 * 4  # 10 slots among four stacks


def test_more_than_the_memory_holds_is_refused(gpu):
    with pytest.raises(ValueError, match="--pack 11 does not fit: this GPU's free memory holds 10"):
        check_pack(ONE, 11, device="cuda", console=Console())
    assert check_pack(ONE, 10, device="cuda", console=Console()) == 10


def test_the_driver_measures_in_a_process_of_its_own(gpu, monkeypatch):
    """The driver itself would keep the GPU's memory until the study's end."""
    asked = []

    def in_own_process(*call):
        asked.append(call)
        return pickle.loads(pickle.dumps(call[0]))(*call[1:])

    monkeypatch.setattr(packs, "in_own_process", in_own_process)
    assert check_pack(ONE, 2, device="cuda", console=Console()) == 2
    assert asked == [(measure_pack, ONE, 2)] == pickle.loads(pickle.dumps(asked))


def test_a_driver_without_a_gpu_leaves_it_to_the_cluster(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_pack(ONE, None, device="cuda", console=Console()) is None
    assert check_pack(ONE, 32, device="cuda", console=Console()) == 32
    with pytest.raises(ValueError, match="at least the number of variants"):
        check_pack(ALL, 3, device="cuda", console=Console())


def test_a_gpu_of_the_cluster_is_measured_by_one_of_its_machines(monkeypatch, capsys):
    asked = []

    def remote(**resources):
        asked.append(resources)
        return lambda function: SimpleNamespace(remote=function)

    def measure(specs, pack):
        if pack == 99:
            raise ValueError("--pack 99 does not fit")
        return pack or 16, "measured"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(driver, "ray", SimpleNamespace(remote=remote, get=lambda result: result))
    monkeypatch.setattr(driver, "measure_pack", measure)

    def slots(pack, gpus_per_trial=0.25):
        options = RunOptions(storage="s3://bucket/study", pack=pack, gpus_per_trial=gpus_per_trial)
        return driver._pack(ONE, options, Console())

    assert slots(1) == 1
    assert slots(2, gpus_per_trial=0.0) == 2  # forced on a CPU
    assert not asked
    assert slots(None) == 16
    assert slots(12) == 12
    assert asked == [{"num_gpus": 1, "num_cpus": 1}] * 2
    assert "measured" in capsys.readouterr().out
    with pytest.raises(StudyError, match="--pack 99 does not fit"):
        slots(99)


def test_a_model_that_a_packs_step_does_not_support_trains_alone(gpu, monkeypatch, capsys):
    tanh_cell.register(monkeypatch)
    specs = [*ONE, StudySpec(setting=Setting("ptb", "small", "rnn"), num_samples=1, max_epochs=1)]
    assert check_pack(specs, 1, device="cuda", console=Console()) == 1
    assert check_pack(specs, None, device="cuda", console=Console()) == 1
    assert "--pack auto: 1, a pack's step does not support VD-RNN" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--pack must be 1 with VD-RNN, got 4: a pack's step does not support"):
        check_pack(specs, 4, device="cuda", console=Console())
