"""Corpora: encoded as the recipe counts them, the same by every way of loading, and clear errors for bad input."""

import dataclasses
import hashlib
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trainables.data import corpora
from trainables.data.corpora import EOS, load_corpus
from trainables.data.download import CorpusError, cache_directory
from trainables.data.toy import toy_entropy
from trainables.recipes import CORPORA, SPLITS, CorpusRecipe, SourceFile

TEXTS = {"train": " the cat sat \n a dog sat \n the end \n", "valid": " the dog \n", "test": " a cat \n a cat \n"}
# Of the content, and so of nothing but the files and the encoding: two machines with the same sum train on the same.
GOLDEN = {
    "ptb": "091dabcf3681fee4384e33f2a143180118a76aaf46deacba2ffbb32db79856d7",
    "wikitext2": "1ea25b152ee47f3b53c76fe526326ce1d8c4b35dda2975e69c759d81f97ccd99",
    "wikitext2-a": "e10f96db16c43983293f57c77e3868eff8e75bea2d12f75ebcbb31a00144fa9e",
    "wikitext2-b": "1d6c6bf7d79d0b27e6db936cf72eadccc049d84611542b569217d67a0a5ef672",
    "toy": "9e45ebd7e5683ff12293c210cadd4d8d84ebf9511e21466b6665ce10a4a281dc",
}


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """``mini(**texts)`` registers a corpus of these texts, puts its files under ``tmp_path / "data"``, and returns its
    name; nothing can be downloaded."""
    monkeypatch.delenv("VDLSTM_DATA", raising=False)
    monkeypatch.setenv("VDLSTM_CACHE", str(tmp_path / "cache"))

    def no_network(request, timeout):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)

    def register(*, recipe=None, **texts):
        contents = {s: t if isinstance(t, bytes) else t.encode() for s, t in (TEXTS | texts).items()}
        files = {}
        for split, content in contents.items():
            path = tmp_path / "data" / "mini" / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files[split] = SourceFile(
                path=f"mini/{split}.txt",
                url=f"https://example.org/{split}.txt",
                sha256=hashlib.sha256(content).hexdigest(),
                num_bytes=len(content),
            )
        entry = CorpusRecipe(
            name="mini",
            title="Mini",
            vocab_size=7,
            num_tokens={"train": 11, "valid": 3, "test": 6},
            keep_prob={},
            gamma=1.0,
            files=files,
        )
        monkeypatch.setitem(CORPORA, "mini", dataclasses.replace(entry, **(recipe or {})))
        return "mini"

    return register


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder that $VDLSTM_DATA names."""
    monkeypatch.setenv("VDLSTM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def entries(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache" / "encoded").iterdir())


def read(corpus, split):
    return " ".join(corpus.vocab[i] for i in getattr(corpus, split))


def test_words_get_ids_in_order_of_first_appearance_and_lines_an_eos(mini, data):
    corpus = load_corpus(mini())
    assert corpus.vocab == ("the", "cat", "sat", EOS, "a", "dog", "end")
    assert corpus.eos_id == 3
    assert corpus.train.tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 0, 6, 3]
    assert read(corpus, "valid") == "the dog <eos>"
    assert read(corpus, "test") == "a cat <eos> a cat <eos>"


def test_the_arrays_are_read_only(mini, data):
    for load in range(2):  # encoded, then from the cache
        corpus = load_corpus(mini())
        for split in SPLITS:
            tokens = getattr(corpus, split)
            assert (tokens.dtype, tokens.ndim) == (np.int32, 1)
            with pytest.raises(ValueError, match="read-only"):
                tokens[0] = load


def test_a_last_line_without_its_end_is_a_line_all_the_same(mini, data):
    assert read(load_corpus(mini(valid="the dog")), "valid") == "the dog <eos>"


def test_only_newlines_end_lines(mini, data):
    """U+2028 and carriage returns do not; both are white space between words, as everywhere in Unicode."""
    assert read(load_corpus(mini(test="a cat\u2028a\n\r\n", recipe=BLANK)), "test") == "a cat a <eos> <eos>"


BLANK = {"blank_lines": True, "num_tokens": {"train": 11, "valid": 3, "test": 5}}


def test_a_blank_line_is_a_lone_eos_where_the_corpus_has_them(mini, data):
    corpus = load_corpus(mini(test=" \na cat \n \n", recipe=BLANK))
    assert read(corpus, "test") == "<eos> a cat <eos> <eos>"


def test_a_blank_line_is_an_error_elsewhere(mini, data):
    with pytest.raises(CorpusError, match=r"mini/test\.txt, line 2: a line of Mini must have words"):
        load_corpus(mini(test="a cat\n \na cat\n"))


def test_the_halves_share_the_vocabulary_and_make_up_the_whole(mini, data):
    whole = load_corpus(mini())
    first = load_corpus(mini(recipe={"part": "first", "num_tokens": TEXT_HALF | {"train": 5}}))
    second = load_corpus(mini(recipe={"part": "second", "num_tokens": TEXT_HALF | {"train": 6}}))
    assert first.vocab == second.vocab == whole.vocab
    assert np.array_equal(np.concatenate([first.train, second.train]), whole.train)
    assert np.array_equal(first.valid, whole.valid)
    assert len({whole.sha256, first.sha256, second.sha256}) == 3


TEXT_HALF = {"valid": 3, "test": 6}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"valid": "the dog\nthe cow\n"}, r"mini/valid\.txt, line 2: the word 'cow' is not in the vocabulary"),
        ({"test": b"a cat\na c\xfft\n"}, r"mini/test\.txt, line 2: must be UTF-8, got the byte 0xff"),
        ({"train": ""}, r"mini/train\.txt is empty"),
        ({"test": " \n\n"}, r"mini/test\.txt is empty"),
        ({"train": "the cat\nthe <eos> dog\n"}, r"mini/train\.txt, line 2: <eos> stands for a line's end"),
        ({"train": TEXTS["train"] + "more\n"}, r"corpus mini must have .*'words': 7, 'train tokens': 11.*got .*8.*13"),
    ],
)
def test_bad_content_is_an_error_that_names_file_and_line_and_leaves_nothing(mini, data, tmp_path, texts, message):
    with pytest.raises(CorpusError, match=message):
        load_corpus(mini(**texts))
    assert not (tmp_path / "cache").exists()


def test_an_unknown_corpus_is_refused():
    with pytest.raises(ValueError, match=r"one of ptb, wikitext2, wikitext2-a, wikitext2-b, toy, got 'ptp'"):
        load_corpus("ptp")


def test_the_content_is_the_same_by_every_way_of_loading(mini, data, tmp_path, monkeypatch):
    name = mini()
    found = [load_corpus(name), load_corpus(name)]  # encoded from $VDLSTM_DATA, then from the encoded cache
    monkeypatch.delenv("VDLSTM_DATA")
    (tmp_path / "other").mkdir()
    data.rename(tmp_path / "other" / "data")
    found.append(load_corpus(name))  # its sources are gone, its encoded form is there
    monkeypatch.setenv("VDLSTM_CACHE", str(tmp_path / "other"))
    found.append(load_corpus(name))  # encoded from the cache's published files
    assert len({corpus.sha256 for corpus in found}) == 1
    for corpus in found[1:]:
        assert corpus.vocab == found[0].vocab
        assert all(np.array_equal(getattr(corpus, s), getattr(found[0], s)) for s in SPLITS)


def test_the_cache_is_addressed_by_content(mini, data, tmp_path):
    first = load_corpus(mini())
    second = load_corpus(mini(test="the cat\na dog\n"))
    assert first.sha256 != second.sha256
    assert len(entries(tmp_path)) == 2


def test_a_new_encoder_encodes_anew(mini, data, tmp_path, monkeypatch):
    load_corpus(mini())
    monkeypatch.setattr(corpora, "ENCODER_VERSION", corpora.ENCODER_VERSION + 1)
    load_corpus(mini())
    assert len(entries(tmp_path)) == 2


def _flip_a_token(content):
    start = content.index(np.array([0, 1, 2, 3], dtype="<i4").tobytes())
    return content[:start] + b"\x05" + content[start + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"not a zip", _flip_a_token],
    ids=["truncated", "empty", "garbage", "flipped"],
)
def test_a_damaged_entry_is_noticed_and_rebuilt(mini, data, tmp_path, damage, monkeypatch):
    name = mini()
    whole = load_corpus(name)
    (entry,) = (tmp_path / "cache" / "encoded").iterdir()
    content = entry.read_bytes()
    entry.write_bytes(damage(content))
    with monkeypatch.context() as patch:
        patch.delenv("VDLSTM_DATA")
        with pytest.raises(CorpusError, match="missing"):
            load_corpus(name)
    assert load_corpus(name).sha256 == whole.sha256
    monkeypatch.delenv("VDLSTM_DATA")
    assert load_corpus(name).sha256 == whole.sha256
    assert entries(tmp_path) == [entry.name]


def test_an_entry_of_another_content_is_not_taken(mini, data, tmp_path):
    """Right in itself as an archive, but its words are not those that its sum is of."""
    name = mini()
    whole = load_corpus(name)
    (entry,) = (tmp_path / "cache" / "encoded").iterdir()
    with np.load(entry) as arrays:
        forged = dict(arrays) | {"train": np.zeros(11, np.int32)}
    np.savez(entry, **forged)
    assert np.array_equal(load_corpus(name).train, whole.train)


def test_a_users_file_is_verified_though_its_encoded_form_is_there(mini, data):
    name = mini()
    load_corpus(name)
    (data / "mini" / "valid.txt").write_text(" the cat \n")
    with pytest.raises(CorpusError, match=r"valid\.txt is not the published mini/valid\.txt: its content differs"):
        load_corpus(name)


def test_loads_at_the_same_time_agree_and_leave_one_entry(mini, data, tmp_path):
    name = mini()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_corpus(name).sha256, range(32)))
    assert len(set(found)) == 1
    assert len(entries(tmp_path)) == 1


def test_an_interrupted_write_leaves_nothing(mini, data, tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_corpus(mini())
    assert entries(tmp_path) == []


def test_a_cache_that_cannot_be_written_costs_a_warning(mini, data, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.warns(UserWarning, match=r"cannot be kept in .*cache/encoded.*VDLSTM_CACHE"):
        assert load_corpus(mini()).train.size == 11


def test_offline_and_missing_says_what_and_where_and_the_way_out(mini, tmp_path, monkeypatch):
    name = mini()
    monkeypatch.setenv("VDLSTM_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(CorpusError) as error:
        load_corpus(name)
    message = str(error.value)
    assert message.startswith("mini/train.txt is missing and cannot be downloaded")
    for folder in (tmp_path / "elsewhere", tmp_path / "cache" / "data"):
        assert str(folder / "mini" / "train.txt") in message
    assert "https://example.org/train.txt: no network" in message
    assert "--corpus toy, which needs nothing" in message


def test_toy_needs_nothing(mini, tmp_path):
    """No files, no network, no cache."""
    corpus = load_corpus("toy")
    assert (corpus.name, corpus.eos_id, corpus.vocab[:3]) == ("toy", 0, (EOS, "a0", "a1"))
    assert not (tmp_path / "cache").exists()
    assert np.log(len(corpus.vocab)) > toy_entropy() > 0


@pytest.mark.parametrize("name", CORPORA)
def test_the_corpora_are_exactly_the_recipes(name, request):
    """load_corpus itself holds the counts against the recipe; the sum pins the rest."""
    if name != "toy":
        request.getfixturevalue("data_dir")
    corpus = load_corpus(name)
    assert corpus.sha256 == GOLDEN[name]
    assert corpus.vocab[corpus.eos_id] == EOS


def test_a_real_half_is_half_of_the_whole(data_dir):
    whole, first, second = (load_corpus(n) for n in ("wikitext2", "wikitext2-a", "wikitext2-b"))
    assert first.vocab == second.vocab == whole.vocab
    assert np.array_equal(np.concatenate([first.train, second.train]), whole.train)


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [
        ("/own", "/xdg", "/own"),
        ("", "/xdg", "/xdg/vdlstm"),
        ("", "relative", "/home/me/.cache/vdlstm"),
        ("", "", "/home/me/.cache/vdlstm"),
        ("~/own", "", "/home/me/own"),
    ],
)
def test_where_the_cache_is(monkeypatch, own, xdg, expected):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("VDLSTM_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert str(cache_directory()) == expected
