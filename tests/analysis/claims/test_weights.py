"""Claims 7 and 10: the subspaces of W and L, and the probability of frequent words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.claims import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Verdict, judge
from analysis.claims.comparisons import AGAINST, ASIDE, OPEN, SHOWN
from analysis.claims.perplexity import LARGE
from analysis.claims.weights import POINTS
from analysis.records.sources import by_study, trial_keys
from analysis.tables.table import joined
from tests.support import memory
from trainables.data.phrases import NAMED_WORDS
from trainables.recipes import FIGURE1

PAPERS = {(0.0, 10.0): 0.985, (1.0, 10.0): 0.06, (1.0, 2.0): 0.12}


def aligned(
    distances: dict[tuple[float, float], float], *, num_seeds: int = 4, spread: float = 0.002, **columns: Any
) -> Verdict:
    """The verdict on claim 7 with these distances at (beta, tau); two epochs a run, of which only the last counts."""
    rng, rows = np.random.default_rng(0), []
    for (beta, tau), distance in distances.items():
        for seed in range(num_seeds):
            run = {
                "corpus": "ptb", "size": "figure1", "variant": "al", "study": "subspace", "beta": beta, "tau": tau,
                "trial_id": f"b{beta}-t{tau}-s{seed}", "attempt": 1, "seed": seed, "num_epochs": FIGURE1.num_epochs,
                "status": "complete", "target_gradient": FIGURE1.target_gradient, "hidden_size": FIGURE1.hidden_size,
                "num_tokens": FIGURE1.num_tokens,
            } | columns  # fmt: skip
            last = distance + float(rng.normal(0.0, spread))
            rows += [run | {"epoch": 1, "subspace_distance": 0.97, "status": "interrupted"}]
            rows += [run | {"epoch": run["num_epochs"] - 1, "subspace_distance": last}]  # no longer fell
    return judge(memory.results(subspace=rows), only=[7])[0]


def test_distances_as_the_paper_states_them() -> None:
    found = aligned(PAPERS)
    assert found.verdict == SUPPORTED, found.effect
    assert [c.decision for c in found.comparisons] == [SHOWN] * 3
    assert found.comparisons[1].effect == pytest.approx(0.06, abs=0.003)
    assert "distance at beta 1, tau 10 = 0.06" in joined(found.effect)
    assert found.comparisons[1].trials == trial_keys("subspace", (f"b1.0-t10.0-s{seed}" for seed in range(4)))


@pytest.mark.parametrize("point", list(PAPERS))
def test_a_distance_out_of_its_range_contradicts(point: tuple[float, float]) -> None:
    found = aligned(PAPERS | {point: 0.5})
    assert found.verdict == CONTRADICTED
    assert [c.decision for c in found.comparisons].count(AGAINST) == 1


@pytest.mark.parametrize(
    ("distances", "columns", "missing"),
    [
        ({p: d for p, d in PAPERS.items() if p != (1.0, 2.0)}, {}, "not run: section 6.2 (beta 1, tau 2)"),
        (PAPERS, {"num_epochs": 5}, f"5 epochs, not {FIGURE1.num_epochs}"),
        (PAPERS, {"hidden_size": 32}, f"32 units, not {FIGURE1.hidden_size}"),
        (PAPERS, {"corpus": "toy"}, "on Toy, not PTB"),
        (PAPERS, {"num_seeds": 1}, "at least 3 runs"),
        (PAPERS, {"spread": 0.2}, "more runs than 4"),
    ],
)
def test_what_the_experiment_lacks(
    distances: dict[tuple[float, float], float], columns: dict[str, Any], missing: str
) -> None:
    found = aligned(distances, **columns)
    assert found.verdict == NOT_ENOUGH
    assert missing in joined(found.missing)
    assert "`python -m study.reproduce figure1" in joined(found.missing)


def test_runs_that_have_not_ended_do_not_count() -> None:
    assert [c.num for c in aligned(PAPERS).comparisons] == [4, 4, 4]
    row = {
        "corpus": "ptb", "size": "figure1", "variant": "al", "study": "subspace", "beta": 1.0, "tau": 2.0, "epoch": 5,
        "trial_id": "b1", "num_epochs": FIGURE1.num_epochs, "target_gradient": FIGURE1.target_gradient,
        "subspace_distance": 0.1, "hidden_size": FIGURE1.hidden_size, "num_tokens": FIGURE1.num_tokens,
    }  # fmt: skip
    found = judge(memory.results(subspace=[row]), only=[7])[0]
    assert [c.num for c in found.comparisons] == [0, 0, 0]


def test_the_other_way_of_the_gradient_is_shown_and_decides_nothing() -> None:
    other = "flow" if FIGURE1.target_gradient == "stop" else "stop"
    found = aligned(PAPERS, target_gradient=other)
    assert found.verdict == NOT_ENOUGH
    assert [c.decision for c in found.comparisons] == [OPEN] * 3 + [ASIDE] * 3
    assert f"beside the claim: distance at beta 0, tau 10, gradient {other}" in joined(found.effect)


def test_the_ranges_are_the_papers() -> None:
    assert [(p.beta, p.tau, p.low, p.high) for p in POINTS] == [
        (0.0, 10.0, 0.9, 1.0), (1.0, 10.0, pytest.approx(0.03), pytest.approx(0.12)), (1.0, 2.0, 0.0, 0.2),
    ]  # fmt: skip


def masses(ratio: dict[str, float], *, num_seeds: int = 6, place: Any = LARGE, **columns: Any) -> Verdict:
    """The verdict on claim 10 with these ratios of REAL's probability to VD-LSTM's."""
    trials, mass = [], []
    for variant in ("baseline", "real"):
        setting = place.setting(variant)
        confirmed = memory.confirm(setting, memory.by_seed(70.0, num_seeds), **columns)
        # Tuned networks were asked too; they do not count here.
        trials += confirmed + memory.confirm(setting, memory.by_seed(66.0, num_seeds), origin="tpe-0004", **columns)
        for row in trials[-2 * num_seeds :]:
            for word, r in ratio.items():
                p = 0.03 * (r if variant == "real" else 1.0) * (1 + 0.001 * (-1) ** row["seed"] * (variant == "real"))
                p = p if row["origin"] == "paper" else 0.5
                mass.append(
                    {
                        **setting._asdict(), "study": row["study"], "trial_id": row["trial_id"], "seed": row["seed"],
                        "split": "test", "word": word, "mean_probability": 0.05, "mean_probability_elsewhere": p,
                    }
                )  # fmt: skip
    return judge(memory.results(trials, word_mass=mass), only=[10])[0]


LOWER = dict.fromkeys(NAMED_WORDS, 0.8)


def test_lower_probability_of_frequent_words() -> None:
    found = masses(LOWER)
    assert found.verdict == SUPPORTED
    first = found.comparisons[0]
    assert first.name == 'P("<unk>") of REAL / VD-LSTM, PTB large'
    assert (first.num, first.effect, first.notes) == (6, pytest.approx(0.8, rel=1e-3), ())
    ids = tuple(f"confirm-paper-s{seed}" for seed in range(101, 107))
    assert by_study(first.trials) == {memory.name_of(LARGE.setting(v)): ids for v in ("real", "baseline")}
    over_all = [(c.decision, c.effect) for c in found.comparisons if "over all positions" in c.name]
    assert over_all == [(ASIDE, 1.0)] * 4


def test_higher_probability_of_one_word_contradicts() -> None:
    found = masses(LOWER | {"the": 1.2}, num_seeds=8)
    assert found.verdict == CONTRADICTED
    assert 'P("the") of REAL / VD-LSTM, PTB large = 1.2' in joined(found.effect)


def test_what_the_predictions_lack() -> None:
    assert masses({}).missing == ("predictions not recorded: PTB large", "run `python -m study.reproduce table4`")
    assert "trials of 6 epochs, the full length is 130" in joined(masses(LOWER, max_epochs=6).missing)
    few = masses(LOWER, num_seeds=4)
    assert few.verdict == NOT_ENOUGH
    assert "`python -m study.reproduce table4 --seeds 6`" in joined(few.missing)
    small = masses(LOWER, place=LARGE._replace(size="small"))
    assert small.verdict == NOT_ENOUGH
    assert 'beside the claim: P("<unk>") of REAL / VD-LSTM, PTB small = 0.8' in joined(small.effect)
