"""Makes records without training anything: whole studies with plausible curves, or single trials to the letter.

Also a command, to look at a report: ``python -m tests.support.synthetic FOLDER``.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from analysis import paper
from study.records.evaluations import SPLITS, evaluations_of
from study.records.records import Records, Setting
from trainables.config import paper_config
from trainables.models import num_params
from trainables.recipes import SIZES, VARIANTS

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EPOCH_S = 36.0  # a hundred epochs are one device-hour


def write_run(storage: str, setting: Setting, study: str, *, run: int = 1, **columns: Any) -> None:
    """A row of ``runs``; any column can be given."""
    row = {
        "study": study, "run": run, "started_at": START, "heartbeat_at": START + timedelta(hours=1),
        "ended_at": START + timedelta(hours=1), "outcome": "finished", "num_samples": 12, "num_seeds": 6,
        "max_epochs": SIZES[setting.size].max_epochs, "search_seed": 1, "argv": f"--variant {setting.variant}",
    }  # fmt: skip
    Records(storage, setting, study).write("runs", "run", run, [row | columns])


def split_evaluations(trials: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The trials without their ``single_stream_valid_ppl`` and ``test_ppl``, and these as evaluations."""
    keys = ("study", "trial_id", "attempt", "seed", *Setting._fields)
    bare, evaluations = [], []
    for trial in trials:
        shared = {key: trial[key] for key in keys if key in trial} | {"recorded_at": trial.get("ended_at")}
        evaluations += [shared | evaluation for evaluation in evaluations_of(trial)]
        bare.append({key: value for key, value in trial.items() if key not in SPLITS})
    return bare, evaluations


def write_trial(
    storage: str,
    setting: Setting,
    study: str,
    trial_id: str,
    ppls: Sequence[float],
    *,
    status: str = "complete",
    attempt: int = 1,
    first_epoch: int = 1,
    max_epochs: int | None = None,
    **columns: Any,
) -> None:
    """A trial whose epochs from ``first_epoch`` on have the validation perplexities ``ppls``.

    The block is read off the trial id; ``best_*`` and the rest follow from ``ppls``; any column can be given, and
    ``single_stream_valid_ppl`` and ``test_ppl``, which become evaluations.
    """
    records, block = Records(storage, setting, study), trial_id.split("-")[0]
    config = paper_config(*reversed(setting), max_epochs=max_epochs, seed=columns.pop("seed", 1))
    finite = [(ppl, first_epoch + i) for i, ppl in enumerate(ppls) if math.isfinite(ppl)]
    best_ppl, best_epoch = min(finite, default=(None, None))
    ended = status != "interrupted"
    trial = {
        **{k: v for k, v in config.to_dict().items() if k not in Setting._fields}, "alpha": config.alpha,
        "study": study, "trial_id": trial_id, "attempt": attempt, "block": block, "audit": False, "status": status,
        "num_params": num_params(config), "started_at": START,
    }  # fmt: skip
    if ended:
        trial |= {
            "num_epochs": first_epoch - 1 + len(ppls), "best_epoch": best_epoch, "best_valid_ppl": best_ppl,
            "final_valid_ppl": ppls[-1] if ppls else None, "device_s": EPOCH_S * (first_epoch - 1 + len(ppls)),
            "ended_at": START + timedelta(seconds=EPOCH_S * len(ppls)),
        }  # fmt: skip
    (trial,), evaluations = split_evaluations([trial | columns])
    records.write("trials", trial_id, attempt, [trial])
    if evaluations:
        records.write("evaluations", trial_id, attempt, evaluations)
    so_far, rows = math.inf, []
    for epoch, ppl in enumerate(ppls, start=first_epoch):
        so_far = min(so_far, ppl) if math.isfinite(ppl) else so_far
        rows.append(
            {
                "study": study, "trial_id": trial_id, "attempt": attempt, "epoch": epoch, "block": block,
                "train_loss": math.log(ppl) - 0.2 if ppl > 0 else math.nan, "valid_ppl": ppl, "best_valid_ppl": so_far,
                "lr": config.lr_at(epoch), "epoch_s": EPOCH_S, "tokens_per_s": 1e4, "grad_norm": 3.0,
            }
        )  # fmt: skip
    if rows:
        records.write("epochs", trial_id, attempt, rows)


def curve(final: float, num_epochs: int, rng: random.Random, *, start: float = 600.0) -> list[float]:
    """A falling validation curve that ends within a per mille or so of ``final``."""
    decay = 5.0 / num_epochs
    return [
        final * math.exp(math.log(start / final) * math.exp(-1.6 * decay * (e + 1)) + rng.gauss(0.0, 0.001))
        for e in range(num_epochs)
    ]


def write_study(
    storage: str,
    setting: Setting,
    *,
    study: str | None = None,
    level: float | None = None,
    num_random: int = 3,
    num_tpe: int = 8,
    recipe_seeds: int = 6,
    tuned_seeds: int = 6,
    max_epochs: int | None = None,
    **run: Any,
) -> str:
    """A whole study: default, random and tpe trials (one failed, every third tpe trial pruned), and confirm trials.

    Args:
        level: final validation perplexity of the paper's recipe; by default near the paper's number.

    Returns:
        The study's name.
    """
    study = study or f"{setting.variant}-{setting.size}-{setting.corpus}-0a1b2c3d"
    rng = random.Random(study)
    epochs = max_epochs or SIZES[setting.size].max_epochs
    target = paper.perplexity(*setting, "valid_ppl")
    if level is None:
        level = target.value * 1.01 if target else 70.0 - 3.0 * list(VARIANTS).index(setting.variant)
    planned = {"num_samples": 1 + num_random + num_tpe, "max_epochs": epochs}
    write_run(storage, setting, study, **{**planned, "num_seeds": max(recipe_seeds, tuned_seeds), **run})
    write_trial(storage, setting, study, "default-0000", curve(level, epochs, rng), max_epochs=epochs)
    best, best_id = math.inf, ""
    for i in range(1, 1 + num_random + num_tpe):
        block = "random" if i <= num_random else "tpe"
        ppls = curve(level * (0.95 + 0.3 * rng.random() / i), epochs, rng)
        trial_id, status, more = f"{block}-{i:04d}", "complete", {}
        if block == "random" and i == 2:
            ppls, status, more = [*ppls[: epochs // 3], math.nan], "failed", {"stopped_by": "non_finite_loss"}
        elif block == "tpe" and i % 3 == 0:
            ppls, status, more = ppls[: max(1, epochs // 4)], "pruned", {"stopped_by": "asha"}
        elif min(ppls) < best:
            best, best_id = min(ppls), trial_id
        write_trial(storage, setting, study, trial_id, ppls, status=status, max_epochs=epochs, **more)
    for origin, final, count in (("paper", level, recipe_seeds), (best_id, best * 1.004, tuned_seeds)):
        for seed in range(101, 101 + count if origin else 101):
            ppls = curve(final * math.exp(rng.gauss(0.0, 0.004)), epochs, rng)
            valid = min(ppls) * 0.998
            write_trial(
                storage, setting, study, f"confirm-{origin}-s{seed}", ppls, max_epochs=epochs, origin=origin, seed=seed,
                single_stream_valid_ppl=valid, test_ppl=valid * 0.955,
            )  # fmt: skip
    return study


def write_example(storage: str) -> None:
    """Many studies at many stages: done, half-finished, one seed, all failed, all pruned, only a run."""
    for variant in VARIANTS:
        write_study(storage, Setting("ptb", "small", variant))
        write_study(storage, Setting("toy", "tiny", variant))
    write_study(storage, Setting("ptb", "large", "baseline"), recipe_seeds=2, tuned_seeds=0, outcome="time_budget")
    write_study(storage, Setting("ptb", "large", "real"), recipe_seeds=3, tuned_seeds=3, num_tpe=4)
    write_study(storage, Setting("wikitext2", "small", "re"), recipe_seeds=0, tuned_seeds=0, outcome="interrupted")
    write_study(storage, Setting("wikitext2", "small", "real"), recipe_seeds=4, tuned_seeds=1, max_epochs=10)
    for i, status in enumerate(("failed", "pruned", "interrupted")):
        setting = Setting("ptb", "medium", list(VARIANTS)[i])
        write_run(storage, setting, f"{status}-study", outcome="running", ended_at=None)
        for j in range(3):
            ppls = [math.nan] if status == "failed" else [400.0 + j, 300.0 + j]
            write_trial(storage, setting, f"{status}-study", f"random-{j:04d}", ppls, status=status)
    write_run(storage, Setting("ptb", "medium", "real"), "real-medium-ptb-00000000", outcome="running", ended_at=None)


# Footnote 4's second session, and what trained weights predict.
def write_second_session(storage: str, setting: Setting, *, num_seeds: int = 6, gain: float = 0.99) -> str:
    """Confirm trials of the recipe that train a second time, to ``gain`` times where the first session ended."""
    study, epochs = f"{setting.variant}-{setting.size}-{setting.corpus}-5e55104e", SIZES[setting.size].max_epochs
    rng = random.Random(study)
    write_run(storage, setting, study, max_epochs=2 * epochs, num_seeds=num_seeds, num_samples=1)
    for seed in range(101, 101 + num_seeds):
        level = 90.0 * math.exp(rng.gauss(0.0, 0.004))
        ppls = curve(level, epochs, rng) + curve(level * gain, epochs, rng, start=150.0)
        write_trial(
            storage, setting, study, f"confirm-paper-s{seed}", ppls, max_epochs=2 * epochs, origin="paper", seed=seed,
            second_session_epoch=epochs + 1, single_stream_valid_ppl=min(ppls) * 0.998,
        )  # fmt: skip
    return study


def write_weights(
    storage: str, setting: Setting, *, num_seeds: int = 6, factor: float = 1.0, study: str | None = None
) -> None:
    """Predictions after Table 4's phrases and one more, and the mean probabilities of a few words, of each seed.

    Args:
        factor: what every word's probability is multiplied by.
        study: its name; by default that of ``write_study``.
    """
    study = study or f"{setting.variant}-{setting.size}-{setting.corpus}-0a1b2c3d"
    records, rng = Records(storage, setting, study), random.Random(f"{study} weights")
    phrases: list[tuple[str, str | None]] = [(p.phrase, p.next_words.split()[0]) for p in paper.TABLE_4[::2]]
    words = ["the", "<unk>", "a", "N", "in", "that", "its", "august", "september", "early"]
    frequent = {"the": (1, 4122), "<unk>": (2, 4794), "N": (3, 2523), "a": (6, 1738), "an": (32, 275)}
    for seed in range(101, 101 + num_seeds):
        shared = {"study": study, "trial_id": f"confirm-paper-s{seed}", "attempt": 1, "seed": seed, "epoch": 12}
        shared |= {"git_commit": "0123abc", "corpus_sha256": "feed", "recorded_at": START}
        rows = []
        for phrase, next_word in [*phrases, ("prices fell", None)]:
            rng.shuffle(words)
            found = words.index(next_word) + 1 if next_word in words else 37
            follows = {"next_word": next_word, "next_word_rank": found, "next_word_probability": factor * 0.3 / found}
            rows += [
                shared | {"phrase": phrase, "rank": rank, "word": word, "probability": factor * 0.3 / rank}
                | (follows if next_word else {"next_word": None})
                for rank, word in enumerate(words, 1)
            ]  # fmt: skip
        records.write("predictions", f"confirm-paper-s{seed}", 1, rows)
        masses = []
        for word, (rank, count) in frequent.items():
            mass = factor * count / 82_430 * math.exp(rng.gauss(0.0, 0.02))
            masses.append(
                shared | {
                    "split": "test", "word": word, "frequency_rank": rank, "num_train": 11 * count, "num_split": count,
                    "num_positions": 82_430, "mean_probability": mass, "mean_probability_elsewhere": 0.6 * mass,
                }
            )  # fmt: skip
        records.write("word_mass", f"confirm-paper-s{seed}", 1, masses)


if __name__ == "__main__":
    write_example(sys.argv[1])
