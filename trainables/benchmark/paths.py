"""The paths that the benchmark compares: this project's training, of one trial and of a pack, and the peer.

Each ``make_*`` takes a trial's configuration, tokens to train on, a device and a precision, and returns a function that
trains over the tokens once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.benchmark.measure import Work
from trainables.config import TrialConfig
from trainables.data.batching import to_streams, windows
from trainables.fused.matmul import operand_dtype
from trainables.fused.precision import use_precision
from trainables.pack.pack import Pack
from trainables.recipes import NUM_LAYERS
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import Training


def make_step(config: TrialConfig, tokens: Tensor, *, device: torch.device, precision: str) -> Work:
    """One trial, trained as in a study."""
    return Training(config, tokens, device=device, precision=precision).train_epoch


def make_pack(config: TrialConfig, tokens: Tensor, num_trials: int, *, device: torch.device, precision: str) -> Work:
    """Trials that differ in their seeds, in one pack."""
    pack = Pack(config, tokens, num_trials, device=device, precision=precision)
    for seed in range(num_trials):
        pack.admit(dataclasses.replace(config, seed=seed))

    def run() -> None:
        for result in pack.train_epoch().values():
            if isinstance(result, NonFiniteLossError):  # its slot would be idle
                raise result

    return run


class Peer(nn.Module):
    """A tied ``nn.LSTM`` language model with ordinary dropout."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        h = config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, h)
        self.lstm = nn.LSTM(h, h, NUM_LAYERS, dropout=config.drop_prob)
        self.drop = nn.Dropout(config.drop_prob)
        self.decoder = nn.Linear(h, config.vocab_size)
        self.decoder.weight = self.embedding.weight
        for p in self.parameters():
            nn.init.uniform_(p, -config.init_range, config.init_range)


def make_peer(config: TrialConfig, tokens: Tensor, *, device: torch.device, precision: str) -> Work:
    """The peer: plain cross-entropy on autograd, ``clip_grad_norm_``, ``torch.optim.SGD``; autocast in bf16."""
    model = Peer(config).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    data = list(windows(to_streams(tokens, config.batch_size), config.bptt, partial=False))
    zeros = torch.zeros(NUM_LAYERS, config.batch_size, config.hidden_size, device=device)

    def run() -> None:
        state = zeros, zeros
        with equal_precision(precision, device):
            dtype = operand_dtype()
            for window in data:
                inputs, targets = (x.to(device, non_blocking=True) for x in window)
                optimizer.zero_grad()
                with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                    output, state = model.lstm(model.drop(model.embedding(inputs)), tuple(s.detach() for s in state))
                    logits = model.decoder(model.drop(output)).flatten(0, 1)
                    loss = F.cross_entropy(logits, targets.flatten(), reduction="sum") / config.batch_size
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
                optimizer.step()

    return run


@contextmanager
def equal_precision(precision: str, device: torch.device) -> Iterator[None]:
    """``use_precision`` that also covers the products inside cuDNN's LSTM, which would be TF32 by default.

    Raises:
        ValueError: if the device does not have the precision.
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.rnn.fp32_precision
    with use_precision(precision, device):
        try:
            cudnn.allow_tf32 = precision == "tf32"  # setting the LSTM's precision only would make torch's getters raise
            yield
        finally:
            cudnn.allow_tf32 = before == "tf32"


def lstm_precision(precision: str, device: torch.device) -> str:
    """Precision of the products of ``torch.nn.LSTM``: on a GPU autocast always gives cuDNN fp16."""
    return "fp16" if precision == "bf16" and device.type == "cuda" else precision
