"""Made-up studies with a known response surface: which parameters matter, where the optimum is, what ASHA stops.

Also a command, to look at figures of realistic records: ``python -m tests.support.landscape FOLDER``.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from analysis import paper
from study.records.parameters import CATEGORICAL, INTEGER, LOG, Parameter, searched_by
from study.records.records import Records, Setting
from tests.support.synthetic import START, write_run, write_trial
from trainables.config import paper_config
from trainables.recipes import SIZES, VARIANTS

REDUCTION_FACTOR = 3
_EPOCH_S = {"tiny": 1.2, "small": 30.0, "medium": 75.0, "large": 210.0}


def draw_params(setting: Setting, rng: random.Random, *, near: dict[str, Any] | None = None) -> dict[str, Any]:
    """A point drawn at random from the ranges that a study searches, or one near another point."""
    params = {
        name: _draw(parameter, parameter.domain_at(setting.size, setting.corpus), rng, near and near[name])
        for name, parameter in searched_by(setting.variant).items()
    }
    return params | ({"alpha": params["gamma"] * params["tau"]} if "tau" in params else {})


def _draw(parameter: Parameter, domain: tuple[Any, ...], rng: random.Random, near: Any) -> Any:
    if parameter.scale == CATEGORICAL:
        return near if near is not None and rng.random() < 0.7 else rng.choice(domain)
    turn, back = (math.log, math.exp) if parameter.scale == LOG else (float, float)
    low, high = map(turn, domain)
    middle = None if near is None else rng.gauss(turn(near), 0.12 * (high - low))
    value = back(rng.uniform(low, high) if middle is None else min(high, max(low, middle)))
    return round(value) if parameter.scale == INTEGER else value


def loss_above_best(setting: Setting, params: dict[str, Any]) -> float:
    """ln(perplexity) above that of the surface's optimum: dropout and learning rate matter most."""
    drop = {"tiny": 0.2, "small": 0.3, "medium": 0.5, "large": 0.62}[setting.size]
    above = 1.6 * (params["drop_prob"] - drop) ** 2 + 0.05 * math.log(params["lr"] / 1.3) ** 2
    above += 3.0 * (params["lr_decay"] - 0.9) ** 2 + 0.01 * (not params["input_dropout"])
    above += 0.004 * math.log(params["max_grad_norm"] / 6) ** 2
    if VARIANTS[setting.variant].augmented_loss:
        above += 0.012 * math.log(params["tau"] / 18) ** 2 + 0.05 * (params["gamma"] - 0.8) ** 2
    return above


def falling(final: float, num_epochs: int, rng: random.Random, *, speed: float) -> list[float]:
    """A validation curve that ends near ``final``; the greater ``speed``, the sooner."""
    start = 900.0
    return [
        final * (start / final) ** math.exp(-speed * 6.0 * (e + 1) / num_epochs) * math.exp(rng.gauss(0.0, 0.002))
        for e in range(num_epochs)
    ]


class _Asha:
    """Stops a trial at a rung unless it is among the best third of all that came there before."""

    def __init__(self, grace_period: int, max_epochs: int) -> None:
        self.rungs, self.seen = [], {}
        while grace_period < max_epochs:
            self.rungs.append(grace_period)
            self.seen[grace_period] = list[float]()
            grace_period *= REDUCTION_FACTOR

    def stop_epoch(self, ppls: list[float]) -> int | None:
        for rung in self.rungs:
            if rung > len(ppls):
                return None
            best, seen = min(ppls[:rung]), sorted(self.seen[rung])
            self.seen[rung].append(best)
            if seen and best > seen[int((len(seen) - 1) / REDUCTION_FACTOR)]:
                return rung
        return None


def _search(
    setting: Setting, rng: random.Random, level: float, epochs: int, num_random: int, num_tpe: int
) -> Iterator[Any]:
    """Yields (trial id, perplexities, columns) of the search, the best point so far guiding the tpe trials."""
    asha, best, guide = _Asha(max(1, epochs // 6), epochs), math.inf, None
    recipe = paper_config(setting.variant, setting.size, setting.corpus)
    for i in range(1 + num_random + num_tpe):
        block = "default" if i == 0 else "random" if i <= num_random else "tpe"
        columns: dict[str, Any] = {} if i == 0 else draw_params(setting, rng, near=guide if block == "tpe" else None)
        params = {k: getattr(recipe, k) for k in draw_params(setting, random.Random(0))} | columns
        final = level * math.exp(loss_above_best(setting, params) + rng.gauss(0.0, 0.004))
        ppls = falling(final, epochs, rng, speed=0.7 + 0.5 * rng.random() + 0.3 * math.log(params["lr"]))
        columns |= {"audit": block == "tpe" and i % 7 == 0, "stopped_by": "max_epochs"}
        if params["lr"] > 2.4 and block == "random":
            ppls = [*ppls[: rng.randrange(2, max(3, epochs // 2))], math.nan]
            columns |= {"status": "failed", "stopped_by": "non_finite_loss", "error": "loss is nan at epoch 3"}
        elif stop := asha.stop_epoch(ppls):
            columns["would_stop_epoch"] = stop
            if block == "tpe" and not columns["audit"]:
                ppls = ppls[:stop]
                columns |= {"status": "pruned", "stopped_by": "asha"}
        if min(ppls[:-1] or ppls) < best and columns.get("status") != "failed":
            best, guide = min(ppls), params
        yield f"{block}-{i:04d}", ppls, columns


def write_landscape(
    storage: str,
    setting: Setting,
    *,
    num_random: int = 20,
    num_tpe: int = 19,
    num_seeds: int = 6,
    max_epochs: int | None = None,
    num_running: int = 0,
) -> str:
    """A whole study on the response surface; the last ``num_running`` trials of the search are half-way.

    Returns:
        The study's name.
    """
    study, rng = f"{setting.variant}-{setting.size}-{setting.corpus}-5eed5eed", random.Random("/".join(setting))
    epochs = max_epochs or SIZES[setting.size].max_epochs
    target = paper.perplexity(*setting, "valid_ppl")
    level = 0.97 * (target.value if target else 80.0 - 2.0 * list(VARIANTS).index(setting.variant))
    write_run(
        storage, setting, study, num_samples=1 + num_random + num_tpe, max_epochs=epochs, num_seeds=num_seeds,
        grace_period=max(1, epochs // 6), reduction_factor=REDUCTION_FACTOR,
    )  # fmt: skip
    epoch_s = _EPOCH_S[setting.size] * (1.35 if VARIANTS[setting.variant].augmented_loss else 1.0)
    epoch_s *= {"wikitext2": 3.5, "toy": 1.0}.get(setting.corpus, 1.0)
    found = list(_search(setting, rng, level, epochs, num_random, num_tpe))
    ended = START
    for i, (trial_id, ppls, columns) in enumerate(found):
        if i >= len(found) - num_running:
            ppls, columns = ppls[: epochs // 2], columns | {"status": "interrupted", "stopped_by": None}
        own = epoch_s * math.exp(rng.gauss(0.0, 0.06))
        ended += timedelta(seconds=own * len(ppls) / 4)
        _write(storage, setting, study, trial_id, ppls, own, ended, max_epochs=epochs, seed=1000 + i, **columns)
    done = [(min(p), t) for t, p, c in found if c.get("status", "complete") == "complete"]
    winner, best_id = min(done)
    for origin, ppl in (("paper", min(found[0][1])), (best_id, winner)):
        for seed in range(101, 101 + num_seeds):
            shared = random.Random(f"{setting.corpus}/{setting.size}/{seed}").gauss(
                0.0, 0.004
            )  # the same in all variants
            ppls = falling(ppl * math.exp(0.004 + shared + rng.gauss(0.0, 0.0025)), epochs, rng, speed=1.0)
            valid = min(ppls) * 0.998
            _write(
                storage, setting, study, f"confirm-{origin}-s{seed}", ppls, epoch_s, ended, max_epochs=epochs,
                origin=origin, seed=seed, single_stream_valid_ppl=valid, test_ppl=valid * 0.955,
            )  # fmt: skip
    return study


def _write(
    storage: str,
    setting: Setting,
    study: str,
    trial_id: str,
    ppls: list[float],
    epoch_s: float,
    ended: Any,
    **columns: Any,
) -> None:
    times: dict[str, Any] = {"device_s": epoch_s * len(ppls), "ended_at": ended}
    times = {} if columns.get("status") == "interrupted" else times
    write_trial(storage, setting, study, trial_id, ppls, **times, **columns)
    rows = [
        {
            "study": study, "trial_id": trial_id, "attempt": 1, "epoch": e, "block": trial_id.split("-")[0],
            "train_loss": math.log(ppl) - 0.2, "valid_ppl": ppl, "epoch_s": epoch_s, "tokens_per_s": 9e5 / epoch_s,
            "best_valid_ppl": min([p for p in ppls[:e] if math.isfinite(p)], default=None),
        }
        for e, ppl in enumerate(ppls, start=1)
    ]  # fmt: skip
    Records(storage, setting, study).write("epochs", trial_id, 1, rows)  # the same, with its own time per epoch


def write_subspace_runs(
    storage: str, *, num_seeds: int = 10, num_epochs: int = 60, unfinished: int = 0, target_gradient: str = "stop"
) -> None:
    """Section 6.2's experiment: distances near 1 without the augmented loss, near .06 with it alone, a row per epoch.

    Args:
        unfinished: runs at (beta 1, tau 10) that are half-way, the last of them failed.
    """
    points = [(beta, 10.0) for beta in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
    points += [(1.0, tau) for tau in (0.5, 1.0, 2.0, 5.0, 20.0, 40.0)]
    setting, study, left = Setting("ptb", "figure1", "al"), f"figure1-{target_gradient}", unfinished
    rng = random.Random(study)
    for beta, tau in points:
        end = 0.06 + 0.9 * math.exp(-4.0 * beta) - 0.9 * math.exp(-4.0) if beta < 1 else 0.055 + 0.13 / tau**1.1
        for seed in range(1, 1 + num_seeds):
            final, stop, status = end * math.exp(rng.gauss(0.0, 0.05)), num_epochs, "complete"
            if (beta, tau) == (1.0, 10.0) and left:
                stop, status, left = num_epochs // 2, "failed" if left == 1 else "interrupted", left - 1
            trial_id = f"b{beta:g}-t{tau:g}-s{seed}"
            rows = [
                {
                    "study": study, "trial_id": trial_id, "attempt": 1, "epoch": e, "num_epochs": num_epochs,
                    "status": status if e == stop else "interrupted", "beta": beta, "tau": tau, "seed": seed,
                    "target_gradient": target_gradient, "hidden_size": 300, "num_tokens": 20_000, "epoch_s": 4.0,
                    "subspace_distance": min(1.0, final + (1 - final) * math.exp(-6 * e / num_epochs)),
                    "train_loss": 3.0, "augmented_loss": 0.1, "recorded_at": START + timedelta(seconds=4 * e),
                }
                for e in range(1, stop + 1)
            ]  # fmt: skip
            Records(storage, setting, study).write("subspace", trial_id, 1, rows)


def write_landscapes(storage: str) -> None:
    """Four variants on PTB small and large and on the toy corpus, a study under way, and section 6.2's experiment."""
    for variant in VARIANTS:
        write_landscape(storage, Setting("ptb", "small", variant))
        write_landscape(storage, Setting("ptb", "large", variant), num_random=9, num_tpe=10, num_seeds=3, max_epochs=60)
        write_landscape(storage, Setting("toy", "tiny", variant), num_random=12, num_tpe=12)
    for variant in ("baseline", "real"):
        write_landscape(storage, Setting("wikitext2", "small", variant), num_seeds=0, num_tpe=6, num_running=3)
    write_subspace_runs(storage, unfinished=2)
    write_subspace_runs(storage, num_seeds=3, num_epochs=30, target_gradient="flow")


if __name__ == "__main__":
    os.fsync = lambda _: None  # hundreds of small files that need not survive a power failure
    write_landscapes(sys.argv[1])
