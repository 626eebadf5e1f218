"""The paper's tables and figures as targets of ``study.reproduce``: the studies and the flags of each."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from study.cli.options import RESOURCES, add_flags, whole
from trainables.recipes import COMPARED, FIGURE1, VARIANTS

_EVERY = tuple(VARIANTS)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A table or figure of the paper, and the settings that it is made from."""

    name: str
    """Its name in the report."""
    shows: str
    variants: tuple[str, ...]
    sizes: tuple[str, ...]
    """Those that the paper shows."""
    corpora: tuple[str, ...]
    """Those that the paper shows."""
    more_sizes: tuple[str, ...] = ()
    """Others that it can be made for."""
    more_corpora: tuple[str, ...] = ()
    searches: bool = False
    """Whether its studies search. If not, they train the paper's recipe alone, on the confirm block's seeds."""
    num_sessions: int = 1
    predicts: bool = False
    """Whether predictions of the confirmed weights are computed afterwards."""
    also_renders: tuple[str, ...] = ()
    """Parts of the report that belong to it."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that it uses."""
        narrow = [("--size", self.all_sizes), ("--corpus", self.all_corpora)]
        return (
            *(flag for flag, choices in narrow if len(choices) > 1),
            *(("--num-samples",) if self.searches else ()),
            "--max-epochs",
            "--seeds",
            *(("--phrase",) if self.predicts else ()),
            "--storage",
            *RESOURCES,
            "--dry-run",
        )

    @property
    def all_sizes(self) -> tuple[str, ...]:
        """The sizes that it can be made for."""
        return (*self.more_sizes, *self.sizes)

    @property
    def all_corpora(self) -> tuple[str, ...]:
        """The corpora that it can be made for."""
        return (*self.corpora, *self.more_corpora)

    def settings(self, size: str | None, corpus: str | None) -> Iterator[tuple[str, str]]:
        """(corpus, size) of each setting, the smaller networks first; a name narrows them down to one."""
        for one_size in (size,) if size else self.sizes:
            for one_corpus in (corpus,) if corpus else self.corpora:
                yield one_corpus, one_size


TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        Target(
            name="table1", shows="perplexities of the four variants", variants=_EVERY, searches=True,
            corpora=COMPARED["table1"][0], more_corpora=("toy",), sizes=COMPARED["table1"][1], more_sizes=("tiny",),
        ),
        Target(
            name="table2", shows="the four small variants on the halves of WikiText-2", variants=_EVERY, searches=True,
            corpora=COMPARED["table2"][0], sizes=COMPARED["table2"][1], more_sizes=("tiny",),
        ),
        # The other systems of Table 3 are the literature's.
        Target(
            name="table3", shows="VD-LSTM+REAL beside other systems on PTB", variants=("real",), searches=True,
            sizes=("large",), more_sizes=("tiny", "small", "medium"), corpora=("ptb",),
        ),
        Target(
            name="table4", shows="predictions of VD-LSTM and VD-LSTM+REAL", variants=("baseline", "real"),
            sizes=("large",), more_sizes=("tiny", "small", "medium"), corpora=("ptb",), more_corpora=("toy",),
            predicts=True, also_renders=("word_mass",),  # section 6.4's statements about Table 4's networks
        ),
        Target(
            name="figure2", shows="validation perplexity by epoch", variants=_EVERY,
            sizes=("small", "large"), more_sizes=("tiny", "medium"), corpora=("ptb",), more_corpora=("toy",),
        ),
        Target(
            name="footnote4", shows="a second training session", variants=_EVERY, num_sessions=2,
            sizes=("small",), more_sizes=("tiny",), corpora=("ptb",), more_corpora=("toy",),
        ),
    )
}  # fmt: skip
"""By name. Figure 1 is not made of settings: ``figure1.grid`` runs it."""

FIGURE_1 = "figure1"
FIGURE_1_FLAGS = (
    "--max-epochs", "--seeds", "--storage", "--gpus-per-trial", "--cpus-per-trial", "--max-concurrent",
    "--time-budget", "--address", "--dry-run",
)  # fmt: skip


def add_target(parsers: argparse._SubParsersAction[argparse.ArgumentParser], target: Target) -> None:
    """Adds a target's parser, with the flags that it uses; flags of other targets are refused."""
    parser = parsers.add_parser(target.name, help=target.shows, description=target.shows, allow_abbrev=False)
    parser.set_defaults(size=None, corpus=None, num_samples=None if target.searches else 0, phrase=[])
    own: dict[str, dict[str, Any]] = {
        "--size": {"choices": target.all_sizes, "help": f"only this one (default: {', '.join(target.sizes)})"},
        "--corpus": {"choices": target.all_corpora, "help": f"only this one (default: {', '.join(target.corpora)})"},
        "--phrase": {"action": "append", "metavar": "TEXT", "help": "predict what follows this too; can be repeated"},
    }
    changes: dict[str, dict[str, Any]] = {} if target.searches else {"--seeds": {"type": whole(1)}}
    if target.num_sessions > 1:
        changes["--max-epochs"] = {"help": "length of each session (default: the size's)"}
    for flag in target.flags:
        if flag in own:
            parser.add_argument(flag, **own[flag])
        else:
            add_flags(parser, [flag], changes=changes)
    refuse_flags(parser, target.flags)


def add_figure_1(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of Figure 1."""
    shows = "distance between word vectors and decoder under the augmented loss"
    parser = parsers.add_parser(FIGURE_1, help=shows, description=shows, allow_abbrev=False)
    changes: dict[str, dict[str, Any]] = {
        "--seeds": {"type": whole(1), "default": FIGURE1.num_seeds, "help": "runs of each point"},
        "--max-epochs": {"help": f"most epochs of a run (default: {FIGURE1.num_epochs})"},
    }
    add_flags(parser, FIGURE_1_FLAGS, changes=changes)
    refuse_flags(parser, FIGURE_1_FLAGS)


def refuse_flags(parser: argparse.ArgumentParser, used: Collection[str]) -> None:
    """Refuses the flags of other targets with an error that lists this target's own."""

    class Refused(argparse.Action):
        def __call__(self, *_: object, **__: object) -> None:
            target = parser.prog.split()[-1]
            parser.error(f"{target} does not use {self.option_strings[0]}: its flags are {', '.join(used)}")

    for flag in sorted({flag for target in TARGETS.values() for flag in target.flags} - set(used)):
        parser.add_argument(flag, action=Refused, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
