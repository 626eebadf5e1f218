"""What ``benchmark.py`` compares: this project's training step, and three others to measure it against.

Each ``make_*`` builds a model on a device and returns a function that trains it on one window. Its matrix products are
of the precision that ``equal_precision`` sets; in bf16 the rivals' own are left to autocast, as is usual.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import TrialConfig
from trainables.data.batching import zipf_tokens
from trainables.fused.matmul import operand_dtype
from trainables.fused.precision import use_precision
from trainables.fused.single import Step
from trainables.fused.step import make_window
from trainables.models.losses import total_loss
from trainables.models.vdlstm import VDLSTM, draw_masks, scale_masks
from trainables.pack.pack import Pack
from trainables.recipes import NUM_LAYERS
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import Training

Run = Callable[[tuple[Tensor, Tensor]], None]
"""Takes (inputs, targets), each (T, B), on the CPU."""
CPU = torch.device("cpu")


@contextmanager
def equal_precision(precision: str, device: torch.device) -> Iterator[None]:
    """As ``use_precision``, for the products inside cuDNN's LSTM too, which would be TF32 by default.

    Raises:
        ValueError: if the device does not have the precision.
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.rnn.fp32_precision
    with use_precision(precision, device):
        try:
            cudnn.allow_tf32 = precision == "tf32"  # the setting of its LSTM alone would make torch's getters raise
            yield
        finally:
            cudnn.allow_tf32 = before == "tf32"


def lstm_precision(precision: str, device: torch.device) -> str:
    """What the products of ``torch.nn.LSTM`` are in: on a GPU autocast gives cuDNN fp16, whatever type it is told."""
    return "fp16" if precision == "bf16" and device.type == "cuda" else precision


def _autocast(device: torch.device) -> torch.autocast:
    dtype = operand_dtype()
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def _training(config: TrialConfig, tokens: Tensor, device: torch.device) -> Training:
    """A trial whose step is made for the precision that is in force."""
    return Training(config, tokens, device=device, precision=None if operand_dtype() is None else "bf16")


def make_pack(
    config: TrialConfig, tokens: Tensor, num_trials: int, *, device: torch.device, precision: str
) -> Callable:
    """Trials that differ in their seeds, in one pack; returns what trains them all over the tokens, once."""
    pack = Pack(config, tokens, num_trials, device=device, precision=precision)
    for seed in range(num_trials):
        pack.admit(dataclasses.replace(config, seed=seed))

    def run() -> None:
        for result in pack.train_epoch().values():
            if isinstance(result, NonFiniteLossError):  # its slot would stand idle
                raise result

    return run


def make_step(config: TrialConfig, *, compact: bool | None = None, device: torch.device = CPU) -> Run:
    """This project's step, random numbers included."""
    generator = torch.Generator().manual_seed(0)
    tokens = zipf_tokens(config.vocab_size, config.batch_size * (config.bptt + 1), seed=0)
    training = _training(config, tokens, device)
    model = training.model
    step = training._step if compact is None else Step(model, config, compact=compact)
    like, state = model.embedding.detach(), model.zero_state(config.batch_size)

    def run(window: tuple[Tensor, Tensor]) -> None:
        nonlocal state
        kept = draw_masks(config.batch_size, config.hidden_size, config.drop_prob, generator)
        masks = scale_masks(kept, config.drop_prob, input_dropout=config.input_dropout, like=like)
        _, _, state = step.gradients(*window, masks, kept, state)
        step.update(config.lr)

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


def make_peer(config: TrialConfig, *, device: torch.device = CPU) -> Run:
    """The peer's step: autograd, ``clip_grad_norm_``, ``torch.optim.SGD``."""
    model = Peer(config).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    shape = (NUM_LAYERS, config.batch_size, config.hidden_size)
    state = tuple(torch.zeros(shape, device=device) for _ in range(2))

    def run(window: tuple[Tensor, Tensor]) -> None:
        nonlocal state
        inputs, targets = (x.to(device, non_blocking=True) for x in window)
        optimizer.zero_grad()
        with _autocast(device):
            output, state = model.lstm(model.drop(model.embedding(inputs)), tuple(s.detach() for s in state))
            logits = model.decoder(model.drop(output)).flatten(0, 1)
            loss = F.cross_entropy(logits, targets.flatten(), reduction="sum") / config.batch_size
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()

    return run


def make_naive(config: TrialConfig, *, device: torch.device = CPU) -> Run:
    """The step's model and loss on autograd, one time step after another."""
    model = VDLSTM.from_config(config, word_major=True, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    generator = torch.Generator().manual_seed(0)
    state = model.zero_state(config.batch_size)

    def forward(inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal state
        kept = draw_masks(config.batch_size, config.hidden_size, config.drop_prob, generator)
        masks = scale_masks(kept, config.drop_prob, input_dropout=config.input_dropout, like=model.embedding.detach())
        hidden, cell = list(state[0]), list(state[1])
        dropped = [h * m for h, m in zip(hidden, masks[1:], strict=True)]
        outputs = []
        for below in F.embedding(inputs, model.embedding):
            for i in range(NUM_LAYERS):
                w_x, w_h, b = (model.get_parameter(f"layers.{i}.{n}") for n in ("weight_x", "weight_h", "bias"))
                o, g_in, f, g = (F.linear(below, w_x, b) + F.linear(dropped[i], w_h)).chunk(4, 1)
                cell[i] = torch.sigmoid(f) * cell[i] + torch.sigmoid(g_in) * torch.tanh(g)
                hidden[i] = torch.sigmoid(o) * torch.tanh(cell[i])
                below = dropped[i] = hidden[i] * masks[i + 1]
            outputs.append(below)
        loss, _ = total_loss(
            torch.stack(outputs).flatten(0, 1), targets.flatten(), embedding=model.embedding, decoder=model.decoder,
            bias=model.decoder_bias, gamma=config.gamma, tau=config.tau,
            target_gradient=config.target_gradient or "stop",
        )  # fmt: skip
        state = torch.stack(hidden).detach(), torch.stack(cell).detach()
        return loss.sum() / config.batch_size

    def run(window: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad()
        with _autocast(device):
            loss = forward(*(x.to(device, non_blocking=True) for x in window))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()

    return run


def make_bound(config: TrialConfig, *, device: torch.device = CPU) -> Run:
    """The step's head, clipping and update around ``nn.LSTM``."""
    tokens = zipf_tokens(config.vocab_size, config.batch_size * (config.bptt + 1), seed=0)
    training = _training(config, tokens, device)
    model, step, h = training.model, training._step.stack, config.hidden_size
    lstm = nn.LSTM(h, h, NUM_LAYERS).to(device)
    generator = torch.Generator().manual_seed(0)
    lr = torch.full_like(step.max_norm, config.lr, dtype=torch.float64)
    for idle in step.d_weights.layers:  # the step's own layers are not run
        for gradient in (idle.x, idle.h, idle.bias):
            gradient.zero_()

    def run(window: tuple[Tensor, Tensor]) -> None:
        inputs, targets = window
        tokens = make_window(
            inputs, targets, augmented=step.augmented is not None, sparse=step.sparse_embedding, device=device
        )
        x = F.embedding(tokens.inputs.view_as(inputs), model.embedding.detach()).requires_grad_()
        kept = draw_masks(config.batch_size, h, config.drop_prob, generator)
        masks = scale_masks(kept, config.drop_prob, input_dropout=False, like=x)
        with _autocast(device):
            output = lstm(x)[0] * masks[-1]
        with torch.no_grad():
            head_weights = step.weights.decoder, step.d_weights.decoder
            step.head(output.detach().unsqueeze(0), kept[-1:], step.targets(tokens), *head_weights)
        output.backward(step.head.d_hidden.view_as(output))
        assert x.grad is not None
        with torch.no_grad():
            step.embedding_gradient(tokens, x.grad.unsqueeze(0), masks.unsqueeze(1))
            for p in lstm.parameters():
                assert p.grad is not None
                p.add_(p.grad, alpha=-1e-3)
                p.grad = None
        step.update(lr)

    return run
