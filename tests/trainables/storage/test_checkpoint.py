import pickle

import pytest
import torch

from trainables.storage.checkpoint import CheckpointError, CheckpointFolder


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(str(tmp_path), "a-study", "random-0001")


def path(tmp_path, name="last"):
    return tmp_path / "checkpoints/a-study/random-0001" / f"{name}.pt"


def test_a_checkpoint_comes_back_and_is_replaced(folder, tmp_path):
    assert folder.load("last") is None
    folder.save("last", {"weights": torch.arange(3), "epoch": 1, "rows": [{"lr": 0.5, "note": None}]})
    folder.save("last", {"weights": torch.arange(4), "epoch": 2, "rows": []})
    state = folder.load("last")
    assert torch.equal(state.pop("weights"), torch.arange(4))
    assert state == {"epoch": 2, "rows": []}
    assert [p.name for p in path(tmp_path).parent.iterdir()] == ["last.pt"]
    folder.delete("last")
    assert folder.load("last") is None


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a checkpoint", lambda b: b"broken"]
)
def test_a_damaged_file_is_an_error_that_names_it(folder, tmp_path, damage):
    folder.save("last", {"weights": torch.arange(1000)})
    path(tmp_path).write_bytes(damage(path(tmp_path).read_bytes()))
    with pytest.raises(CheckpointError, match=r"last\.pt is not a usable checkpoint"):
        folder.load("last")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_no_code_of_a_checkpoint_runs(folder, tmp_path):
    folder.save("last", {})
    torch.save({"weights": Evil()}, path(tmp_path))
    with pytest.raises(CheckpointError, match="not a usable checkpoint"):
        folder.load("last")
    path(tmp_path).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="not a usable checkpoint"):
        folder.load("last")
