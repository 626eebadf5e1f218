import shutil

import pytest
from optuna.trial import TrialState

from study.search.winner import winner_of
from tests.support.studies import make_spec, open_setting, perplexity, result, run_all, run_epoch
from trainables.config import paper_config


def optuna_trials(setting):
    return setting.optuna._study.get_trials()


def by_id(setting):
    return {t.user_attrs["trial_id"]: t for t in optuna_trials(setting) if t.user_attrs.get("trial_id")}


def test_the_blocks_come_in_order_and_the_paper_is_first(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting)
    ids = list(setting.ledger.trials)
    assert [i.split("-")[0] for i in ids[:9]] == ["default"] + 4 * ["random"] + 4 * ["tpe"]
    default = setting.ledger.trials["default-0000"].config
    assert default == paper_config("real", "tiny", "toy", seed=default.seed, max_epochs=6)
    assert ids[9:11] == ["select-paper-s51", "select-paper-s52"]
    assert [i.split("-")[0] for i in ids[9:]] == 10 * ["select"] + 4 * ["confirm"]
    assert ids[19:21] == ["confirm-paper-s101", "confirm-paper-s102"]
    assert setting.is_finished()


def test_the_winner_is_confirmed_on_the_same_seeds_as_the_paper(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting)
    winner = setting.ledger.trials[winner_of(setting.ledger)]
    tuned = [t for t in setting.ledger.in_block("confirm") if t.origin == winner.trial_id]
    assert winner.block != "default"
    assert [t.config.seed for t in tuned] == setting.spec.confirm_seeds
    assert setting.spec.params(tuned[0].config) == setting.spec.params(winner.config)


def test_the_papers_recipe_is_not_confirmed_twice_when_it_is_the_best(tmp_path):
    setting = open_setting(tmp_path, num_samples=1)
    run_all(setting)
    assert [t.origin for t in setting.ledger.in_block("confirm")] == ["paper", "paper"]
    assert setting.is_finished()


def test_the_test_split_is_read_in_the_confirm_block_alone(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting)
    for trial in setting.ledger.trials.values():
        job = setting.job(trial)
        assert job.evaluate_test == job.keep_best == (trial.block == "confirm")


def test_stopped_trials_are_pruned_in_optuna_with_their_last_epoch(tmp_path):
    setting = open_setting(tmp_path, num_samples=25)
    run_all(setting, concurrent=4)
    pruned = [t for t in setting.ledger.trials.values() if t.status == "pruned"]
    assert pruned
    for trial in pruned:
        told = by_id(setting)[trial.trial_id]
        assert told.state == TrialState.PRUNED
        assert sorted(told.intermediate_values) == list(range(1, trial.num_epochs + 1))
        assert trial.stopped_by == "asha"
        assert trial.num_epochs in setting.spec.rungs


def test_the_objective_is_the_best_epoch_and_not_the_last(tmp_path):
    setting = open_setting(tmp_path, num_samples=3)
    run_all(setting)
    trial = setting.ledger.trials["default-0000"]
    told = by_id(setting)["default-0000"]
    assert perplexity(trial, 6) > perplexity(trial, 5)
    assert told.value == told.intermediate_values[6] == perplexity(trial, 5)


def test_protected_trials_run_in_full_and_what_asha_would_have_done_is_recorded(tmp_path):
    setting = open_setting(tmp_path, num_samples=40)
    run_all(setting, concurrent=3)
    trials = setting.ledger.in_block("default", "random", "tpe")
    protected = [t for t in trials if t.block != "tpe" or t.audit]
    assert any(t.audit for t in trials)
    assert all(t.status == "complete" for t in protected)
    would = [t.would_stop_epoch for t in protected if t.would_stop_epoch]
    assert would
    assert set(would) <= set(setting.spec.rungs)
    assert all(t.would_stop_epoch == t.num_epochs for t in trials if t.status == "pruned")


def test_a_failed_trial_fails_in_optuna_too_and_never_runs_again(tmp_path):
    setting = open_setting(tmp_path, num_samples=2, num_seeds=0)
    trial = setting.next_trial()
    run_epoch(setting, trial, 1)
    setting.end(trial, failure="the loss of epoch 2 is nan")
    setting.end(trial, error="again")
    assert by_id(setting)[trial.trial_id].state == TrialState.FAIL
    again = open_setting(tmp_path, num_samples=2, num_seeds=0)
    assert again.ledger.trials[trial.trial_id].error == "the loss of epoch 2 is nan"
    assert again.next_trial().trial_id != trial.trial_id


def test_an_epoch_reported_twice_is_recorded_once(tmp_path):
    setting = open_setting(tmp_path)
    trial = setting.next_trial()
    assert setting.record(trial, result(trial, 1))
    assert not setting.record(trial, result(trial, 1))
    assert len(setting.ledger.records.read("epochs")) == 1


@pytest.mark.parametrize("stop_after", [1, 2, 7, 13, 20, 33, 41])
def test_a_study_killed_anywhere_ends_like_one_that_was_not(tmp_path, stop_after):
    whole = open_setting(tmp_path / "whole")
    run_all(whole)
    run_all(open_setting(tmp_path / "killed"), stop_after=stop_after)
    resumed = open_setting(tmp_path / "killed")
    assert not [t for t in optuna_trials(resumed) if t.state == TrialState.RUNNING and not resumed.optuna._open]
    run_all(resumed)

    def essence(setting):
        return {
            t.trial_id: (t.status, t.stopped_by, t.would_stop_epoch, t.valid_ppl, t.evaluations, t.config)
            for t in setting.ledger.trials.values()
        }

    assert essence(resumed) == essence(whole)
    rows = [(r["trial_id"], r["epoch"]) for r in resumed.ledger.records.read("epochs")]
    assert len(rows) == len(set(rows)) == sum(t.num_epochs for t in whole.ledger.trials.values())
    assert not [t for t in optuna_trials(resumed) if not t.state.is_finished()]


@pytest.mark.parametrize("recorded", [True, False], ids=["after its epoch", "before its epoch"])
def test_ashas_decision_survives_the_death_of_the_driver(tmp_path, recorded):
    setting = open_setting(tmp_path)
    run_all(setting, stop_after=6 * 5)  # the paper's recipe and the random block, in full
    trial = setting.next_trial()
    bad = {"valid_ppl": 1e6, "best_valid_ppl": 1e6}
    for epoch in (1, 2):
        assert not setting.decide(trial, epoch, valid_ppl=1e6)
        setting.record(trial, result(trial, epoch, **bad))
    assert setting.decide(trial, 3, valid_ppl=1e6)
    if recorded:
        setting.record(trial, result(trial, 3, **bad))
    again = open_setting(tmp_path)
    state = again.ledger.trials[trial.trial_id]
    if not recorded:  # the trainable reports it again from its checkpoint
        assert again.next_trial() is state
        assert again.decide(state, 3, valid_ppl=1e6)
        again.record(state, result(trial, 3, **bad))
        again.end(state)
    assert (state.status, state.stopped_by, state.num_epochs) == ("pruned", "asha", 3)
    assert by_id(again)[trial.trial_id].state == TrialState.PRUNED


def test_ashas_rungs_are_rebuilt(tmp_path):
    setting = open_setting(tmp_path, num_samples=30)
    run_all(setting, concurrent=2, stop_after=60)
    again = open_setting(tmp_path, num_samples=30)

    def recorded(one):
        (bracket,) = one._rungs._asha._brackets
        return {milestone: values for milestone, values in bracket._rungs}

    assert recorded(again) == recorded(setting)
    assert sum(len(v) for v in recorded(again).values()) == 10


def test_a_bad_trial_after_a_restart_is_stopped_at_the_rebuilt_rung(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting, stop_after=6 * 5)  # the paper's recipe and the random block, in full
    again = open_setting(tmp_path)
    trial = again.next_trial()
    assert trial.block == "tpe"
    assert again.decide(trial, 3, valid_ppl=1e6)


def test_a_larger_budget_extends_a_finished_study(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting)
    before = {t.trial_id: t.valid_ppl for t in setting.ledger.trials.values()}
    more = open_setting(tmp_path, num_samples=15, num_seeds=3)
    assert more.spec.name == setting.spec.name
    assert not more.is_finished()
    run_all(more)
    assert {i: more.ledger.trials[i].valid_ppl for i in before} == before
    assert len(more.ledger.in_block("default", "random", "tpe")) == 15
    assert all(sum(t.origin == o for t in more.ledger.in_block("confirm")) == 3 for o in ("paper",))
    assert more.is_finished()


def test_a_trial_asked_for_and_never_started_is_failed_and_its_name_taken_again(tmp_path):
    setting = open_setting(tmp_path)
    setting.optuna.propose("default", "default-0000")  # and the driver dies
    again = open_setting(tmp_path)
    assert [t.state for t in optuna_trials(again)] == [TrialState.FAIL]
    trial = again.next_trial()
    assert trial.trial_id == "default-0000"
    assert trial.config.lr == again.spec.paper.lr
    run_epoch(again, trial, 1)
    third = open_setting(tmp_path)
    assert not third.ledger.trials["default-0000"].ended
    run_all(third)
    assert by_id(third)["default-0000"].state == TrialState.COMPLETE


def test_a_lost_journal_is_rebuilt_from_the_records(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting, stop_after=27)
    before = by_id(setting)
    shutil.rmtree(tmp_path / "optuna")
    again = open_setting(tmp_path)
    after = by_id(again)
    assert {i: (t.state, t.params, t.value, t.intermediate_values) for i, t in after.items()} == {
        i: (t.state, t.params, t.value, t.intermediate_values) for i, t in before.items()
    }
    run_all(again)
    third = open_setting(tmp_path)
    assert len(by_id(third)) == len(optuna_trials(third))


def test_half_a_line_and_a_dead_writers_lock_do_not_stop_the_next(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting, stop_after=10)
    journal = tmp_path / "optuna" / f"{setting.spec.name}.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    journal.with_name(journal.name + ".lock").symlink_to(journal)
    run_all(open_setting(tmp_path))


def test_a_random_trials_point_depends_on_its_name_alone(tmp_path):
    one, other = open_setting(tmp_path / "one"), open_setting(tmp_path / "other", num_samples=30)
    run_all(one)
    run_all(other, concurrent=3)
    assert one.ledger.trials["random-0002"].config == other.ledger.trials["random-0002"].config
    draws = {t.config.lr for t in other.ledger.in_block("random")}
    assert len(draws) == other.spec.num_random


def test_studies_do_not_share_trials(tmp_path):
    setting = open_setting(tmp_path)
    run_all(setting)
    other = open_setting(tmp_path, search_seed=1)
    assert other.spec.name != setting.spec.name
    assert not optuna_trials(other)
    assert make_spec(search_seed=1).name == other.optuna._study.study_name
