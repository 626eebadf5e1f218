"""The columns of the tables. A column that a later version adds is null in earlier records."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from study.records.parameters import PARAMETERS

_S, _I32, _I64, _F, _B = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("ms", tz="UTC")

EPOCHS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("epoch", _I32), ("block", _S),
        ("train_loss", _F), ("train_total_loss", _F), ("valid_ppl", _F), ("best_valid_ppl", _F),
        ("lr", _F), ("grad_norm", _F), ("tokens_per_s", _F), ("epoch_s", _F), ("peak_memory_bytes", _I64),
        ("subspace_distance", _F),
    ]
)  # fmt: skip
"""A row per finished epoch. Losses in nats per token (``train_loss`` is the cross-entropy alone), times in seconds."""

TRIALS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("block", _S), ("origin", _S), ("audit", _B),
        ("optuna_number", _I32),
        ("seed", _I64), ("max_epochs", _I32), *(parameter.column for parameter in PARAMETERS.values()),
        ("alpha", _F), ("second_session_epoch", _I32), ("batch_size", _I32), ("bptt", _I32),
        ("status", _S), ("stopped_by", _S), ("would_stop_epoch", _I32), ("num_epochs", _I32), ("best_epoch", _I32),
        ("best_valid_ppl", _F), ("final_valid_ppl", _F),
        ("num_params", _I64), ("device_s", _F), ("error", _S), ("precision", _S), ("numerics", _I32),
        ("git_commit", _S),
        ("started_at", _TIME), ("ended_at", _TIME),
    ]
)  # fmt: skip
"""A row per trial. ``status`` is complete, pruned, failed or interrupted; a running trial is recorded as interrupted,
which stays true if its driver dies. ``numerics`` is the version of the arithmetic (``recipes.NUMERICS``): trials that
share it have comparable numbers, whatever their commits."""

EVALUATIONS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("seed", _I64), ("epoch", _I32),
        ("evaluator", _S), ("split", _S), ("measure", _S), ("value", _F), ("members", pa.list_(_S)),
        ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per number that is measured on a trial's best weights, those of its best validation epoch ``epoch``.
``evaluator`` says how (``single_stream``: the split read as one stream, every token counted), ``split`` on which text
(``test`` in the confirm block alone), ``measure`` what ``value`` is (``perplexity``, without a unit). ``members`` are
the trials whose predictions are averaged, null for a single trial."""

RUNS = pa.schema(
    [
        ("study", _S), ("run", _I32), ("started_at", _TIME), ("heartbeat_at", _TIME), ("ended_at", _TIME),
        ("outcome", _S), ("argv", _S), ("git_commit", _S), ("git_dirty", _B),
        ("python", _S), ("torch", _S), ("ray", _S), ("optuna", _S), ("pyarrow", _S), ("platform", _S),
        ("cpu_model", _S), ("num_cpus", _I32), ("num_gpus", _I32), ("gpu_model", _S), ("memory_bytes", _I64),
        ("search_seed", _I64), ("space_hash", _S), ("corpus_sha256", _S), ("vocab_size", _I32),
        ("num_train_tokens", _I64), ("num_valid_tokens", _I64), ("num_test_tokens", _I64),
        ("num_samples", _I32), ("max_epochs", _I32), ("num_seeds", _I32), ("grace_period", _I32),
        ("reduction_factor", _I32), ("max_concurrent", _I32), ("time_budget_s", _F),
        ("hidden_size", _I32), ("num_params", _I64), ("precision", _S), ("bf16_instructions", _S),
    ]
)  # fmt: skip
"""A row per start of a driver: its provenance and its budget. ``bf16_instructions`` are
those of the driver's CPU (AMX or AVX512-BF16), null if it has none."""

SUBSPACE = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("epoch", _I32), ("num_epochs", _I32), ("status", _S),
        ("beta", _F), ("tau", _F), ("seed", _I64), ("target_gradient", _S),
        ("hidden_size", _I32), ("vocab_size", _I32), ("num_tokens", _I64), ("first_token", _I64),
        ("batch_size", _I32), ("bptt", _I32), ("lr", _F), ("max_grad_norm", _F), ("init_range", _F),
        ("optimizer", _S), ("vocabulary", _S), ("layer_lr_share", _F), ("embedding_lr_share", _F),
        ("warmup_epochs", _I32), ("plateau_epochs", _I32), ("plateau_fall", _F),
        ("train_loss", _F), ("augmented_loss", _F), ("subspace_distance", _F), ("centred_distance", _F),
        ("explained_share", _F), ("grad_norm", _F), ("epoch_s", _F),
        ("git_commit", _S), ("torch", _S), ("cpu_model", _S), ("gpu_model", _S), ("corpus_sha256", _S),
        ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per finished epoch of section 6.2's experiment. ``augmented_loss`` is J_aug alone, in nats per token;
``centred_distance`` that of the matrices without their columns' means; ``explained_share`` is R^2 of the targets' word
vectors given the hidden states. ``num_epochs`` is the largest number of epochs; ``SubspaceConfig.ends_after`` may
complete a run earlier."""

PREDICTIONS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("seed", _I64), ("epoch", _I32), ("phrase", _S),
        ("next_word", _S), ("next_word_probability", _F), ("next_word_rank", _I32),
        ("rank", _I32), ("word", _S), ("probability", _F),
        ("git_commit", _S), ("corpus_sha256", _S), ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per phrase and rank (from 1): the most probable next words under a trial's best weights (Table 4)."""

WORD_MASS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("seed", _I64), ("epoch", _I32), ("split", _S),
        ("word", _S), ("frequency_rank", _I32), ("num_train", _I64), ("num_split", _I64), ("num_positions", _I64),
        ("mean_probability", _F), ("mean_probability_elsewhere", _F),
        ("git_commit", _S), ("corpus_sha256", _S), ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per frequent word: the mean probability that a trial's best weights give it over a whole split, and over the
positions where it is not the target (section 6.4). ``frequency_rank`` counts from 1 in the training split."""

TOKEN_SCORES = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("seed", _I64), ("epoch", _I32), ("split", _S),
        ("num_tokens", _I64), ("log_probs", pa.list_(pa.float32())), ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per split (valid, test) of a complete confirm trial: ``log_probs`` is ln p of every token of the split, in its
order, under the weights of the best validation epoch ``epoch``, the split read as one stream."""

SCHEMAS: Mapping[str, pa.Schema] = {
    "epochs": EPOCHS,
    "trials": TRIALS,
    "evaluations": EVALUATIONS,
    "runs": RUNS,
    "subspace": SUBSPACE,
    "predictions": PREDICTIONS,
    "word_mass": WORD_MASS,
    "token_scores": TOKEN_SCORES,
}
HIVE_KEYS = pa.schema([("corpus", _S), ("size", _S), ("variant", _S)])
