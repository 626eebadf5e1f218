"""Builds the Tune trainable of a run: a process for each trial, or the slots of one pack engine per device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray import tune

from study.spec.spec import StudySpec
from trainables.data.corpora import Corpus
from trainables.tune.engine import PackActor, PackedTrainable
from trainables.tune.trainable import VDLSTMTrainable

_THIN_TRIAL_CPUS = 0.01  # a packed trial only waits for its engine, but Tune requires a resource
_ENGINE_THREADS_PER_SLOT = 2  # a trial can leave while all others wait for their epoch


def make_trainable(
    specs: Sequence[StudySpec], corpus: Corpus, *, cpus_per_trial: float, gpus_per_trial: float, slots_per_device: int
) -> Any:
    """The Tune trainable of a run, with its resources and the corpus.

    Args:
        specs: the studies.
        corpus: put into the object store once; each process of a machine reads it there.
        cpus_per_trial: cores of a trial, or of an engine.
        gpus_per_trial: part of a GPU of a trial, if each is a process of its own.
        slots_per_device: trials that train in one stack; 1 for a process each.
    """
    text = {
        "train": corpus.train,
        "valid": corpus.valid,
        "test": [ray.put(corpus.test)],  # in a list: Ray does not load it for trials that may not read the test split
        "eos_id": corpus.eos_id,
    }
    if slots_per_device == 1:
        trainable = tune.with_parameters(VDLSTMTrainable, **text)
        return tune.with_resources(trainable, {"cpu": cpus_per_trial, "gpu": gpus_per_trial})
    stored = text | {name: ray.put(text[name]) for name in ("train", "valid")}
    num_devices = int(ray.cluster_resources().get("GPU", 0)) or 1
    on_gpu = ray.cluster_resources().get("GPU", 0) >= 1
    slots = slots_per_device // len(specs)
    engines = {
        spec.setting.variant: [
            ray.remote(PackActor)
            .options(
                num_cpus=cpus_per_trial,
                num_gpus=1 / len(specs) if on_gpu else 0,
                max_restarts=-1,
                max_task_retries=-1,  # a repeated request trains no epoch again: it is in the checkpoint
                max_concurrency=_ENGINE_THREADS_PER_SLOT * slots + 2,
            )
            .remote(spec.paper.to_dict(), slots, spec.precision, **stored)
            for _ in range(num_devices)
        ]
        for spec in specs
    }
    # A restarted engine reads its texts again: this reference keeps Ray from freeing them.
    trainable = tune.with_parameters(PackedTrainable, engines=engines, texts=[stored])
    return tune.with_resources(trainable, {"cpu": _THIN_TRIAL_CPUS})
