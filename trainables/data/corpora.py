"""Loads corpora: finds or downloads their files, verifies them, and caches the encoded form by content."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from trainables.data.download import CorpusError, cache_directory, fetch, find, user_folders
from trainables.data.toy import toy_tokens, toy_vocab
from trainables.recipes import CORPORA, SPLITS, CorpusRecipe
from trainables.storage.storage import whole_file

EOS = "<eos>"
ENCODER_VERSION = 1
"""Part of a cache entry's name. Raise it when the encoding or the file's layout changes."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """An encoded corpus. The splits are one-dimensional, read-only int32 arrays of ids, one ``<eos>`` per line."""

    name: str
    sha256: str
    """Of the content (words and ids); the same by every way of loading."""
    vocab: tuple[str, ...]
    """Words by id."""
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @cached_property
    def eos_id(self) -> int:
        """Id of ``<eos>``."""
        return self.vocab.index(EOS)


def load_corpus(name: str) -> Corpus:
    """Loads a corpus: from ``$VDLSTM_DATA``, the cache, or the network, in this order.

    A file in ``$VDLSTM_DATA`` is verified at every load. The files in the cache are no longer needed once the encoded
    corpus is in the cache.

    Args:
        name: a name in ``recipes.CORPORA``.

    Raises:
        ValueError: if there is no such corpus.
        CorpusError: if a file is missing and cannot be downloaded, or is not the published one.
    """
    if name not in CORPORA:
        raise ValueError(f"corpus must be one of {', '.join(CORPORA)}, got {name!r}")
    recipe = CORPORA[name]
    if not recipe.files:
        return _check(_corpus(name, toy_vocab(), {split: toy_tokens(split) for split in SPLITS}), recipe)
    cache = cache_directory()
    named = user_folders()
    contents = {split: find(recipe.files[split], named) for split in SPLITS}
    entry = cache / "encoded" / f"{name}-{_fingerprint(recipe)}.npz"
    if (corpus := _read_entry(entry, name)) is not None:
        return _check(corpus, recipe)
    folders = named | {"the cache": cache / "data"}
    for split, source in recipe.files.items():
        if contents[split] is None:
            contents[split] = find(source, {"the cache": cache / "data"})
        if contents[split] is None:
            contents[split] = fetch(source, cache / "data", searched=folders)
    corpus = _check(_encode(recipe, {split: content or b"" for split, content in contents.items()}), recipe)
    _write_entry(entry, corpus)
    return corpus


def _encode(recipe: CorpusRecipe, contents: Mapping[str, bytes]) -> Corpus:
    """Words to ids. The vocabulary is the training file's, in order of first appearance.

    Raises:
        CorpusError: naming file and line.
    """
    train = _words(recipe, "train", contents["train"])
    ids = {word: i for i, word in enumerate(dict.fromkeys(train))}
    splits = {"train": np.array([ids[word] for word in train], dtype=np.int32)}
    for split in ("valid", "test"):
        words = _words(recipe, split, contents[split])
        try:
            splits[split] = np.array([ids[word] for word in words], dtype=np.int32)
        except KeyError:
            index = next(i for i, word in enumerate(words) if word not in ids)
            line = 1 + words[:index].count(EOS)
            raise CorpusError(
                f"{recipe.files[split].path}, line {line}: the word {words[index]!r} is not in the vocabulary, which "
                f"is that of {recipe.files['train'].path}"
            ) from None
    if recipe.part is not None:
        middle = len(train) // 2
        splits["train"] = splits["train"][:middle] if recipe.part == "first" else splits["train"][middle:]
    return _corpus(recipe.name, tuple(ids), splits)


def _words(recipe: CorpusRecipe, split: str, content: bytes) -> list[str]:
    """The file's words with one ``<eos>`` for each line end."""
    path = recipe.files[split].path
    if not content.strip():
        raise CorpusError(f"{path} is empty: it must hold one sentence or paragraph a line")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise CorpusError(f"{path}, line {line}: must be UTF-8, got the byte 0x{content[error.start]:02x}") from None
    # Not splitlines(): it also splits at characters like U+2028, which do not end lines here.
    lines = text.removesuffix("\n").split("\n")
    if EOS in text:
        line = next(i for i, text_line in enumerate(lines, 1) if EOS in text_line)
        raise CorpusError(f"{path}, line {line}: {EOS} stands for a line's end and must not be a word of the text")
    if not recipe.blank_lines:
        for i, text_line in enumerate(lines, 1):
            if not text_line.strip():
                raise CorpusError(f"{path}, line {i}: a line of {recipe.title} must have words, but this one is empty")
    return f" {EOS} ".join([*lines, ""]).split()


def _corpus(name: str, vocab: tuple[str, ...], splits: Mapping[str, np.ndarray]) -> Corpus:
    digest = hashlib.sha256("\n".join(vocab).encode())
    for split in SPLITS:
        splits[split].setflags(write=False)
        digest.update(f"\n\n{split} {splits[split].size}\n".encode())
        digest.update(np.ascontiguousarray(splits[split], dtype="<i4").data)
    return Corpus(name, digest.hexdigest(), vocab, splits["train"], splits["valid"], splits["test"])


def _check(corpus: Corpus, recipe: CorpusRecipe) -> Corpus:
    """Returns the corpus, or raises CorpusError if its counts of words and tokens are not the recipe's."""
    found = {"words": len(corpus.vocab)} | {f"{split} tokens": getattr(corpus, split).size for split in SPLITS}
    expected = {"words": recipe.vocab_size} | {f"{split} tokens": recipe.num_tokens[split] for split in SPLITS}
    if found != expected:
        raise CorpusError(f"corpus {recipe.name} must have {expected} (recipes.CORPORA), got {found}")
    return corpus


def _fingerprint(recipe: CorpusRecipe) -> str:
    """Hash of all that decides an encoded corpus: its sources, the part of them, and the encoder."""
    decisive = [ENCODER_VERSION, recipe.name, recipe.part, *(recipe.files[split].sha256 for split in SPLITS)]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def _read_entry(entry: Path, name: str) -> Corpus | None:
    """Reads the corpus of a cache entry; None if it is missing or damaged (it is then rewritten)."""
    try:
        with np.load(io.BytesIO(entry.read_bytes()), allow_pickle=False) as arrays:
            stored = json.loads(arrays["vocab"].tobytes())
            corpus = _corpus(name, tuple(stored["vocab"]), {split: arrays[split] for split in SPLITS})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return corpus if corpus.sha256 == stored["sha256"] else None


def _write_entry(entry: Path, corpus: Corpus) -> None:
    """Writes a cache entry atomically. Warns if the cache cannot be written."""
    stored = json.dumps({"sha256": corpus.sha256, "vocab": corpus.vocab}, ensure_ascii=False).encode()
    buffer = io.BytesIO()
    np.savez(buffer, vocab=np.frombuffer(stored, np.uint8), train=corpus.train, valid=corpus.valid, test=corpus.test)
    try:
        with whole_file(entry) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        warnings.warn(
            f"the encoded corpus cannot be kept in {entry.parent}: {error.strerror or error}. It is encoded at every "
            "load until $VDLSTM_CACHE names a folder that can be written.",
            stacklevel=3,
        )
