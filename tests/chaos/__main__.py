"""``python -m tests.chaos``: injects faults into a running study and checks that no record is lost.

A seed fixes the sequence and timing of the faults; the state that a fault meets also depends on the machine's speed.
Touches only its own processes and files.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.campaign import Campaign
from tests.chaos.study import BrokenError

_DISK = "48m"  # a study has some 2 MB, and its temporary files come on top
_INSIDE = "VDLSTM_CHAOS_MOUNTS"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="no further faults after so long")
    parser.add_argument("--faults", type=int, metavar="N", help="number of faults; default: as many as fit")
    parser.add_argument("--seed", type=int, metavar="S", help="default: drawn")
    parser.add_argument("--max-epochs", type=int, default=5, metavar="E", help="of a trial; fewer make shorter studies")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, and returns the exit status: 1 if something broke."""
    arguments = build_parser().parse_args(argv)
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    disk = folder / "disk"
    disk.mkdir()
    small_disk = _mount(disk)
    if not small_disk:
        print("no tmpfs can be mounted here: the disk will not be full", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends in order, and cleans up
    campaign = Campaign(
        folder=disk,
        seed=seed,
        small_disk=small_disk,
        max_epochs=arguments.max_epochs,
        say=lambda line: print(line, flush=True),
    )
    try:
        campaign.run(minutes=arguments.minutes, max_faults=arguments.faults)
    except BrokenError as error:
        _print_evidence(campaign, error, folder / "kept")
        status = 1
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        status = 130
    else:
        status = 0
    finally:
        if campaign.study is not None:
            campaign.study.close()
        if small_disk:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)
        if not (folder / "kept").exists():
            shutil.rmtree(folder, ignore_errors=True)
    kinds = ", ".join(f"{n} {kind}" for kind, n in campaign.faults.most_common())
    print(
        f"{campaign.num_faults} faults survived in a row ({kinds or 'none'}); "
        f"{campaign.num_studies} studies, {campaign.num_starts} starts of a driver, seed {seed}",
        flush=True,
    )
    return status


def _print_evidence(campaign: Campaign, error: BrokenError, kept: Path) -> None:
    study = campaign.study
    print(f"\nBROKEN after {campaign.num_faults} faults, seed {campaign.seed}:\n{error}\n", flush=True)
    if study is None:
        return
    names = "\n".join(f"{pid} {name}" for pid, name in study.processes().items()) if study.driver else ""
    print(f"command: python -m {' '.join(study.command)}\nliving processes:\n{names}\n")
    print(f"the end of the drivers' output:\n{study.log_tail()}\n")
    kept.mkdir()
    shutil.copytree(study.storage, kept / "storage", dirs_exist_ok=True)
    shutil.copytree(study.machine.folder, kept / "machine", ignore=_sockets, symlinks=True, dirs_exist_ok=True)
    (kept / "faults.txt").write_text("\n".join(campaign.lines) + "\n")
    print(f"kept: {kept} (the storage, Ray's logs, the faults so far)\n", flush=True)


def _sockets(folder: str, names: list[str]) -> list[str]:
    """Files that cannot be copied."""
    return [name for name in names if not (Path(folder) / name).is_file() and not (Path(folder) / name).is_dir()]


def _mount(folder: Path) -> bool:
    """Mounts a small disk, if this process is in a private mount namespace."""
    if os.environ.get(_INSIDE) != "1":
        return False
    return _quiet("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder))


def _in_private_mounts() -> None:
    """Restarts this process in a private mount namespace; returns if that is not possible."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    if os.environ.get(_INSIDE) is None and shutil.which("unshare") and _quiet(*unshare, "true"):
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", [*unshare, sys.executable, "-m", "tests.chaos", *sys.argv[1:]])


def _quiet(*command: str) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    _in_private_mounts()
    sys.exit(main())
