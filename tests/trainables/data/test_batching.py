"""Streams and windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.batching import (
    IGNORED,
    as_tokens,
    distinct_words,
    evaluation_streams,
    num_windows,
    to_streams,
    windows,
    zipf_tokens,
)
from trainables.recipes import BATCH_SIZE, BPTT, CORPORA


def test_streams_are_contiguous_and_the_remainder_is_dropped():
    streams = to_streams(torch.arange(11), 3)
    assert streams.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize(("corpus", "expected"), [("ptb", 1327), ("wikitext2", 2983)])
def test_windows_of_an_epoch(corpus, expected):
    assert num_windows(CORPORA[corpus].num_tokens["train"], BATCH_SIZE, BPTT) == expected


@given(num_tokens=st.integers(2, 300), batch_size=st.integers(1, 7), bptt=st.integers(1, 12), partial=st.booleans())
def test_windows_read_on_where_the_last_one_ended(num_tokens, batch_size, bptt, partial):
    if num_tokens < batch_size:
        return
    streams = to_streams(torch.arange(num_tokens), batch_size)
    found = list(windows(streams, bptt, partial=partial))
    if not partial:
        assert len(found) == num_windows(num_tokens, batch_size, bptt)
        assert all(len(inputs) == bptt for inputs, _ in found)
    for inputs, targets in found:
        assert inputs.shape == targets.shape
        assert (targets == inputs + 1).all()
    read = [inputs for inputs, _ in found]
    rows = sum(len(inputs) for inputs in read)
    if partial:
        assert rows == len(streams) - 1
    if read:
        assert torch.equal(torch.cat(read), streams[:rows])


@given(num_tokens=st.integers(1, 60), batch_size=st.integers(1, 9), bptt=st.integers(1, 10))
def test_evaluation_counts_every_token_once_after_its_own_context(num_tokens, batch_size, bptt):
    tokens, eos_id = torch.arange(num_tokens) + 1, 0
    pairs = []
    for inputs, targets in windows(evaluation_streams(tokens, batch_size, eos_id=eos_id), bptt, partial=True):
        counted = targets != IGNORED
        pairs += list(zip(inputs[counted].tolist(), targets[counted].tolist(), strict=True))
    assert sorted(pairs) == [(i, i + 1) for i in range(num_tokens)]


def test_single_stream_evaluation_reads_the_text_in_order():
    assert evaluation_streams(torch.tensor([5, 6, 7]), 1, eos_id=2).flatten().tolist() == [2, 5, 6, 7]


def test_distinct_words_give_the_words_back():
    words = torch.tensor([[3, 1], [3, 3], [7, 1]])
    distinct, index = distinct_words(words)
    assert distinct.tolist() == [1, 3, 7]
    assert torch.equal(distinct[index], words.flatten())


def test_random_tokens_repeat_as_often_as_words_do():
    tokens = zipf_tokens(10_000, 70_000, seed=0).view(100, 700)
    assert sum(len(t.unique()) for t in tokens) / 70_000 == pytest.approx(0.514, abs=0.03)  # 0.514 on PTB's windows


def test_tokens_become_int64_whatever_they_were():
    tokens = np.array([0, 2, 1], dtype=np.int32)
    tokens.setflags(write=False)
    assert as_tokens(tokens, 3).dtype == torch.int64
    assert as_tokens(torch.tensor([0, 2], dtype=torch.int32), 3).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: as_tokens(np.array([0, 5]), 5), r"0\.\.4, got 5"),
        (lambda: as_tokens(np.array([-1, 3]), 5), r"0\.\.4, got -1"),
        (lambda: as_tokens(np.array([], dtype=np.int32), 5), "at least one id"),
        (lambda: to_streams(torch.arange(3), 4), "at least batch_size = 4"),
        (lambda: to_streams(torch.arange(3), 0), "batch_size must be at least 1, got 0"),
        (lambda: list(windows(torch.zeros(3, 2), 0, partial=True)), "bptt must be at least 1, got 0"),
        (lambda: evaluation_streams(torch.arange(0), 2, eos_id=0), "at least one id"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
