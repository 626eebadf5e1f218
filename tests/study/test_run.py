import pytest

from study.cli import plan
from study.cli.plan import Estimate
from study.records.records import Setting
from study.run import build_parser, main
from study.spec.spec import StudySpec
from tests.support import tanh_cell
from trainables.models import num_params
from trainables.pack.probe import Probe
from trainables.recipes import CORPORA, SIZES, VARIANTS

FROZEN = {
    "--variant", "--size", "--corpus", "--num-samples", "--max-epochs", "--seeds", "--search-seed", "--storage",
    "--gpus-per-trial", "--cpus-per-trial", "--max-concurrent", "--time-budget", "--address", "--dry-run", "--pack",
    "--precision",
}  # fmt: skip
SETTING = ["--variant", "real", "--size", "small"]


@pytest.fixture
def instant_probe(monkeypatch):
    """The plan without its measurement, which for large models takes seconds, on a CPU with fp32 alone."""
    calls = []
    monkeypatch.setattr("trainables.fused.precision.bf16_instructions", lambda: None)

    def probe(config, *, device, precision, limit_s):
        calls.append(config)
        return Probe(0.5, 1e-4, 1e-2, 10**9)

    monkeypatch.setattr(plan, "probe_step_seconds", probe)
    return calls


def test_the_command_line_is_frozen():
    """Users' scripts rely on these flags: change this list knowingly."""
    found = {option for action in build_parser()._actions for option in action.option_strings}
    assert found == FROZEN | {"-h", "--help"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([*SETTING, "--verbose"], "unrecognized arguments: --verbose"),
        ([*SETTING, "--num-sample", "3"], "unrecognized arguments"),
        (["--size", "small"], "the following arguments are required: --variant"),
        (["--variant", "real"], "the following arguments are required: --size"),
        (["--variant", "elmo", "--size", "small"], "choose from"),
        (["--variant", "real", "--size", "huge"], "choose from"),
        ([*SETTING, "--corpus", "c4"], "choose from"),
        ([*SETTING, "--num-samples", "-1"], "must be a whole number of at least 0, got '-1'"),
        ([*SETTING, "--num-samples", "2.5"], "must be a whole number of at least 0, got '2.5'"),
        ([*SETTING, "--max-epochs", "-1"], "must be a whole number of at least 1, got '-1'"),
        ([*SETTING, "--seeds", "-1"], "must be a whole number of at least 0, got '-1'"),
        ([*SETTING, "--search-seed", "x"], "must be a whole number of at least 0, got 'x'"),
        ([*SETTING, "--gpus-per-trial", "-0.5"], "must be a number of at least 0, got '-0.5'"),
        ([*SETTING, "--gpus-per-trial", "nan"], "must be a number of at least 0, got 'nan'"),
        ([*SETTING, "--cpus-per-trial", "0"], "must be a number of at least 0.01, got '0'"),
        ([*SETTING, "--max-concurrent", "0"], "must be a whole number of at least 1, got '0'"),
        ([*SETTING, "--pack", "0"], "must be a whole number of at least 1, got '0'"),
        ([*SETTING, "--pack", "many"], "must be a whole number of at least 1, got 'many'"),
        ([*SETTING, "--precision", "fp16"], "choose from"),
        ([*SETTING, "--time-budget", "2"], "a number and a unit (s, m, h or d), such as 90s or 2h, got '2'"),
        ([*SETTING, "--time-budget", "0h"], "got '0h'"),
    ],
)
def test_a_bad_flag_is_refused_with_its_rule(flags, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*flags, "--dry-run"])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5d", 129600)])
def test_lengths_of_time(text, value):
    assert build_parser().parse_args([*SETTING, "--time-budget", text]).time_budget == value


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_setting_has_a_plan_with_its_exact_parameter_count(
    variant, size, corpus, instant_probe, capsys, tmp_path
):
    flags = ["--variant", variant, "--size", size, "--corpus", corpus, "--storage", str(tmp_path), "--dry-run"]
    assert main(flags) == 0
    (config,) = instant_probe
    out = capsys.readouterr().out
    assert f"{num_params(config):,} parameters" in out
    assert all(block in out for block in ("default", "random", "tpe", "confirm"))
    assert not list(tmp_path.iterdir())


def test_all_plans_the_four_with_equal_budgets(instant_probe, capsys, tmp_path):
    assert main(["--variant", "all", "--size", "small", "--storage", str(tmp_path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith("all ")]
    assert len(rows) == 4
    assert len({tuple(row) for row in rows}) == 1
    assert [config.variant for config in instant_probe] == list(VARIANTS)


def test_the_plan_by_hand(instant_probe, capsys, tmp_path):
    flags = ["--num-samples", "3", "--max-epochs", "6", "--seeds", "1", "--max-concurrent", "4", "--dry-run"]
    assert main([*SETTING, *flags, "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    # PTB: 1,327 training windows of half a second and 73,760 tokens of validation at .1 ms: 670.9 s an epoch;
    # 73,760 + 82,430 tokens in one stream at 10 ms: 1,561.9 s
    assert "11 min per epoch and 26 min for the last evaluation of a confirm trial" in out
    # 6 epochs of the paper, 6 random, 3 + 3/2 of a tpe trial with a rung at 3, 3 configurations on 2 seeds, 2 on 1
    blocks = ("default", "random", "tpe", "select", "confirm")
    rows = [line.split() for line in out.splitlines() if line.startswith(blocks)]
    assert [row[2] for row in rows] == ["6", "6", "4", "36", "12"]
    hours = {row[0]: float(row[3]) for row in rows}
    # confirm: 12 * 670.9 s + 2 * 1,561.9 s
    assert hours == {"default": 1.1, "random": 1.1, "tpe": 0.8, "select": 6.7, "confirm": 3.1}
    assert "4 trials at a time: about 3.2 h" in out  # 46,397 s


def test_the_probe_measures_in_the_precision_of_the_study(monkeypatch):
    """On a GPU in a separate process, whose end frees the memory."""
    given, elsewhere = [], []
    monkeypatch.setattr("trainables.fused.precision.bf16_instructions", lambda: "AMX")

    def probe(config, *, device, precision, limit_s):
        given.append((device, precision))
        return Probe(1.0, 1.0, 1.0, 1)

    def in_own_process(measure):
        elsewhere.append(measure.keywords["device"])
        return measure()

    monkeypatch.setattr(plan, "probe_step_seconds", probe)
    monkeypatch.setattr(plan, "in_own_process", in_own_process)
    setting = Setting("ptb", "small", "real")
    for precision, device in (("bf16", "cuda"), ("tf32", "cuda"), ("tf32", "cpu"), ("bf16", "cpu")):
        spec = StudySpec(setting=setting, num_samples=1, max_epochs=1, precision=precision)
        plan.estimate(spec, device=device, num_threads=1)
    assert given == [("cuda", "bf16"), ("cuda", "tf32"), ("cpu", None), ("cpu", "bf16")]
    assert elsewhere == ["cuda", "cuda"]


@pytest.mark.parametrize(
    ("instructions", "bf16_s", "expected"),
    [
        (None, 0.25, None),
        ("AMX", 0.25, "takes 500.0 ms in fp32 and 250.0 ms in bf16: --precision bf16 pays here"),
        ("AMX", 0.48, "takes 500.0 ms in fp32 and 480.0 ms in bf16: --precision bf16 does not pay here"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_plan_says_which_precision_pays(precision, instructions, bf16_s, expected, monkeypatch, capsys, tmp_path):
    if precision == "bf16" and instructions is None:
        pytest.skip("refused: tested by itself")
    monkeypatch.setattr("trainables.fused.precision.bf16_instructions", lambda: instructions)
    seconds = {"fp32": 0.5, "bf16": bf16_s}

    def probe(config, *, device, precision, limit_s):
        return Probe(seconds[precision], 1e-4, 1e-2, 1)

    monkeypatch.setattr(plan, "probe_step_seconds", probe)
    flags = ["--storage", str(tmp_path), "--precision", precision, "--gpus-per-trial", "0", "--dry-run"]
    assert main([*SETTING, *flags]) == 0
    out = capsys.readouterr().out
    assert expected in out if expected else "bf16" not in out


def test_a_medium_study_on_a_cpu_says_so(instant_probe, capsys, tmp_path):
    main(["--variant", "real", "--size", "medium", "--storage", str(tmp_path), "--dry-run", "--gpus-per-trial", "0"])
    assert "This machine trains on its CPU" in capsys.readouterr().out


@pytest.mark.parametrize("gpus", ["0.3", "1.5"])
def test_a_share_of_a_gpu_must_divide_it(gpus, capsys, tmp_path):
    assert main([*SETTING, "--gpus-per-trial", gpus, "--storage", str(tmp_path), "--dry-run"]) == 2
    assert f"must be a whole number or divide 1 (such as 0.5 or 0.25), got {gpus}" in capsys.readouterr().out


def test_an_invalid_storage_is_refused_before_any_work(instant_probe, capsys):
    assert main([*SETTING, "--storage", "gs://bucket/x"]) == 2
    assert "must be a folder or an s3:// URI, got 'gs://bucket/x'" in capsys.readouterr().out
    assert not instant_probe


def test_trials_that_do_not_fit_on_their_gpu_are_refused(monkeypatch):
    class Properties:
        total_memory = 16 * 2**30

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: Properties)
    need = Estimate(window_s=1.0, epoch_s=1.0, final_s=1.0, peak_memory_bytes=6 * 2**30)
    plan._check_gpu_memory(need, 0.5)
    with pytest.raises(
        ValueError, match="puts 4 trials on a GPU, and each needs 6.0 GiB of its 16.0 GiB; at most 2 fit"
    ):
        plan._check_gpu_memory(need, 0.25)


def test_a_cluster_needs_the_share_of_a_gpu(capsys, tmp_path, monkeypatch):
    assert main([*SETTING, "--address", "auto", "--storage", str(tmp_path), "--dry-run"]) == 2
    assert "--address needs --gpus-per-trial" in capsys.readouterr().out


def test_a_pack_on_a_cpu_is_refused_with_the_reason(capsys, tmp_path, instant_probe, monkeypatch):
    monkeypatch.delenv("STUDY_FORCE_PACK", raising=False)
    assert main([*SETTING, "--pack", "32", "--storage", str(tmp_path), "--dry-run"]) == 2
    assert "--pack above 1 needs a GPU, got 32: on a CPU" in capsys.readouterr().out
    assert not instant_probe


def test_an_automatic_pack_on_a_cpu_is_a_process_for_each_trial(capsys, tmp_path, instant_probe):
    assert main([*SETTING, "--pack", "auto", "--storage", str(tmp_path), "--dry-run"]) == 0
    assert "--pack auto: 1, on a CPU" in capsys.readouterr().out


def test_a_pack_has_a_slot_for_each_variant(capsys, tmp_path, instant_probe, monkeypatch):
    monkeypatch.setenv("STUDY_FORCE_PACK", "1")
    flags = ["--variant", "all", "--size", "tiny", "--storage", str(tmp_path), "--dry-run", "--pack"]
    assert main([*flags, "3"]) == 2
    assert "--pack must be at least the number of variants, 4, or 1, got 3" in capsys.readouterr().out
    assert main([*flags, "4"]) == 0


def test_a_model_without_a_fused_step_has_a_plan_in_fp32_alone(capsys, tmp_path, instant_probe, monkeypatch):
    tanh_cell.register(monkeypatch)
    monkeypatch.setattr("trainables.fused.precision.bf16_instructions", lambda: "AMX")
    flags = ["--variant", "rnn", "--size", "tiny", "--storage", str(tmp_path), "--dry-run"]
    assert main([*flags, "--precision", "bf16"]) == 2
    assert "precision must be fp32 for variant 'rnn', got 'bf16': the fused step" in capsys.readouterr().out
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "VD-RNN, tiny (48 units), PTB:" in out
    assert "in bf16" not in out


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_that_the_machine_does_not_have_is_refused(precision, capsys, tmp_path, instant_probe, monkeypatch):
    monkeypatch.setattr("trainables.fused.precision.bf16_instructions", lambda: None)
    assert main([*SETTING, "--precision", precision, "--storage", str(tmp_path), "--dry-run"]) == 2
    assert f"precision '{precision}' needs a CUDA device" in capsys.readouterr().out


def test_several_search_seeds_without_a_search_are_refused(instant_probe, capsys, tmp_path):
    flags = [*SETTING, "--num-samples", "0", "--dry-run", "--storage", str(tmp_path), "--search-seed"]
    assert main([*flags, "1", "2"]) == 2
    assert (
        "--search-seed takes one seed with --num-samples 0, which searches nothing, got 1 2" in capsys.readouterr().out
    )
    assert main([*flags, "1"]) == 0
