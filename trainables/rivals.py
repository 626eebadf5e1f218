"""What ``benchmark.py`` compares: this project's training step, and three others to measure it against.

Each ``make_*`` builds a model and returns a function that trains it on one window.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.batching import zipf_tokens
from trainables.config import TrialConfig
from trainables.losses import total_loss
from trainables.model import VDLSTM, draw_masks, scale_masks
from trainables.recipes import NUM_LAYERS
from trainables.step import Step
from trainables.training import Training

Run = Callable[[tuple[Tensor, Tensor]], None]
"""Takes (inputs, targets), each (T, B)."""


def make_step(config: TrialConfig, *, compact: bool | None = None) -> Run:
    """This project's step, random numbers included."""
    generator = torch.Generator().manual_seed(0)
    training = Training(config, zipf_tokens(config.vocab_size, config.batch_size * (config.bptt + 1), seed=0))
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


def make_peer(config: TrialConfig) -> Run:
    """The peer's step: autograd, ``clip_grad_norm_``, ``torch.optim.SGD``."""
    model = Peer(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    state = tuple(torch.zeros(NUM_LAYERS, config.batch_size, config.hidden_size) for _ in range(2))

    def run(window: tuple[Tensor, Tensor]) -> None:
        nonlocal state
        inputs, targets = window
        optimizer.zero_grad()
        output, state = model.lstm(model.drop(model.embedding(inputs)), tuple(s.detach() for s in state))
        logits = model.decoder(model.drop(output)).flatten(0, 1)
        (F.cross_entropy(logits, targets.flatten(), reduction="sum") / config.batch_size).backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()

    return run


def make_naive(config: TrialConfig) -> Run:
    """The step's model and loss on autograd, one time step after another."""
    model = VDLSTM.from_config(config, word_major=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    generator = torch.Generator().manual_seed(0)
    state = model.zero_state(config.batch_size)

    def run(window: tuple[Tensor, Tensor]) -> None:
        nonlocal state
        inputs, targets = window
        kept = draw_masks(config.batch_size, config.hidden_size, config.drop_prob, generator)
        masks = scale_masks(kept, config.drop_prob, input_dropout=config.input_dropout, like=model.embedding.detach())
        hidden, cell = list(state[0]), list(state[1])
        dropped = [h * m for h, m in zip(hidden, masks[1:], strict=True)]
        outputs = []
        optimizer.zero_grad()
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
        (loss.sum() / config.batch_size).backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        state = torch.stack(hidden).detach(), torch.stack(cell).detach()

    return run


def make_bound(config: TrialConfig) -> Run:
    """The step's head, clipping and update around ``nn.LSTM``."""
    training = Training(config, zipf_tokens(config.vocab_size, config.batch_size * (config.bptt + 1), seed=0))
    model, step, h = training.model, training._step, config.hidden_size
    lstm = nn.LSTM(h, h, NUM_LAYERS)
    generator = torch.Generator().manual_seed(0)
    for idle in step.d_layers:  # the step's own layers are not run
        for gradient in (idle.x, idle.h, idle.bias):
            gradient.zero_()

    def run(window: tuple[Tensor, Tensor]) -> None:
        inputs, targets = window
        x = F.embedding(inputs, model.embedding.detach()).requires_grad_()
        kept = draw_masks(config.batch_size, h, config.drop_prob, generator)
        masks = scale_masks(kept, config.drop_prob, input_dropout=False, like=x)
        output = lstm(x)[0] * masks[-1]
        with torch.no_grad():
            found = step._targets(targets, x.device)
            step._words = inputs.reshape(-1)
            step.head(output.detach().unsqueeze(0), kept[-1:], found, step.weights, step.d_weights)
        output.backward(step.head.d_hidden.view_as(output))
        assert x.grad is not None
        with torch.no_grad():
            step._embedding_gradient(x.grad.unsqueeze(0), masks)
            for p in lstm.parameters():
                assert p.grad is not None
                p.add_(p.grad, alpha=-1e-3)
                p.grad = None
        step.update(config.lr)

    return run
