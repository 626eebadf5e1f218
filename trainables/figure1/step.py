"""One step of section 6.2's training: the gradients of loss (6.1), written out, clipping, the update.

    J_tot = beta tau^2 |V| J_aug + (1 - beta) J                                                          (eq. 6.1)
    dJ_tot / da = beta tau |V| (y-hat - y-tilde),   plus (1 - beta) (y - y*) through the biased scores a + b

The layers are those of every other trial (``layer.py``); there are no masks. After each step the word vectors go back
to norm 1.

J_aug is summed in float64. With g = E E[y] and y-tilde = softmax(g / tau), that of one token is

    J_aug = (<y-tilde, g / tau> - logsumexp(g / tau)) - (<y-tilde, a / tau> - logsumexp(a / tau))

a difference of numbers near log V = 9.2, where neighbouring float32 numbers lie 1e-6 apart. It comes to 1.1e-6 for the
first weights of Figure 1's seed 0 at tau 40 and to less later. So the exponentials are taken in float32, and their
sums, the logarithms and the differences in float64: that agrees with a window in float64 to one part in 8,000.

Shapes: T steps, B streams, N = T B tokens, H units, V words, U distinct targets of a window, L layers; a leading axis
of one stands for the trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.batching import distinct_words
from trainables.figure1.config import SubspaceConfig
from trainables.figure1.optimizer import SubspaceOptimizer
from trainables.fused.layer import LayerBuffers, layer_backward, layer_forward
from trainables.fused.matmul import add_outer, add_rows, norms, product, shared_rows
from trainables.fused.scores import rows_per_block
from trainables.fused.single import State
from trainables.fused.weights import StackWeights
from trainables.models.base import LanguageModel

_TOKENS_PER_CHUNK = 350  # whose scores stand at once, as in ``head.py``
_TARGETS_MULTIPLE = 32  # see ``fused.step.TARGETS_MULTIPLE``


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a step measures of its window."""

    cross_entropy: Tensor
    """Sum of J over the tokens, a float64 scalar."""
    augmented: Tensor
    """Sum of J_aug over the tokens, a float64 scalar."""
    hidden: Tensor
    """(N, H), the hidden states that the decoder reads; overwritten by the next window."""
    target_vectors: Tensor
    """(N, H), E[y] of the same tokens."""


class SubspaceStep:
    """The training step of one run.

    Args:
        model: untied; its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
    """

    def __init__(self, model: LanguageModel, config: SubspaceConfig) -> None:
        self.config = config
        self.weights = StackWeights.of(model)
        self.d_weights = self.weights.like_without()
        like = self.weights.embedding
        _, vocab_size, hidden_size = like.shape
        shape = (1, config.bptt, config.batch_size, hidden_size)
        self.augmented_scale = config.beta * config.tau * vocab_size
        """Of dJ_tot / da: beta tau |V|."""
        self._flows = config.target_gradient == "flow" and config.beta > 0
        self._buffers = [LayerBuffers(*shape, like=like) for _ in self.weights.layers]
        self._d_x = [like.new_empty(shape) for _ in self.weights.layers]
        self._d_hidden = like.new_empty(1, config.bptt * config.batch_size, hidden_size)
        self.optimizer = SubspaceOptimizer(config.optimizer, self.weights.trial(0), preconditioned=["decoder_weight"])

    def zero_state(self) -> State:
        """The state at an epoch's start."""
        hidden, cell = self.weights.zero_state(self.config.batch_size)
        return hidden.squeeze(1), cell.squeeze(1)

    @torch.no_grad()
    def gradients(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Window, State]:
        """Forward and backward over a window; the gradients, summed over the streams, stay in the step.

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            state: (hidden, cell), each (L, B, H), carried in.

        Returns:
            The measures of the window, and the state to carry on.
        """
        like = self.weights.embedding
        words = inputs.reshape(-1).to(like.device)
        x = shared_rows(like, words).view(1, *inputs.shape, -1)
        xs = []
        for index, (layer, buffers) in enumerate(zip(self.weights.layers, self._buffers, strict=True)):
            xs.append(x)
            x = layer_forward(x, layer, None, state[0][index].unsqueeze(0), state[1][index].unsqueeze(0), buffers)
        window = self._head(x.reshape(inputs.numel(), -1), targets)
        d_x = self._d_hidden.view(1, *inputs.shape, -1)
        for index in range(len(xs) - 1, -1, -1):
            layer, d_layer = self.weights.layers[index], self.d_weights.layers[index]
            layer_backward(d_x, xs[index], layer, None, self._buffers[index], d_layer, self._d_x[index])
            d_x = self._d_x[index]
        add_rows(self.d_weights.embedding, words.unsqueeze(0), d_x.view(1, inputs.numel(), -1))
        hidden, cell = (
            torch.cat(s) for s in zip(*((b.final_hidden, b.final_cell) for b in self._buffers), strict=True)
        )
        return window, (hidden, cell)

    def _head(self, hidden: Tensor, targets: Tensor) -> Window:
        """Both losses' sums, and the gradients of the decoder, its bias, the embedding (y-tilde's) and the states.

        Args:
            hidden: (N, H).
            targets: (T, B).
        """
        decoder, gradients = self.weights.decoder.decoder[0], self.d_weights.decoder
        assert gradients.embedding is not None
        assert gradients.bias is not None
        gradients.embedding.zero_()
        gradients.bias.zero_()
        distinct, row = (x.to(hidden.device) for x in distinct_words(targets, multiple_of=_TARGETS_MULTIPLE))
        vectors = self.weights.embedding[0].index_select(0, distinct)
        target_scores = product(vectors / self.config.tau, self.weights.embedding[0].t())
        target = torch.softmax(target_scores, -1)
        negative_entropy = _dot(target, target_scores) - _logsumexp(target_scores)
        words = targets.reshape(-1).to(hidden.device)
        cross_entropy = hidden.new_zeros((), dtype=torch.float64)
        augmented = negative_entropy.index_select(0, row).sum()
        for start in range(0, words.numel(), _TOKENS_PER_CHUNK):
            tokens = slice(start, start + _TOKENS_PER_CHUNK)
            scores = product(hidden[tokens], decoder.t())
            j, cross_term = self._scores_to_gradient(scores, words[tokens], target, row[tokens])
            cross_entropy += j
            augmented -= cross_term
            self._d_hidden[0, tokens] = product(scores, decoder)
            add_outer(gradients.decoder, scores.unsqueeze(0), hidden[None, tokens], overwrite=start == 0)
        if self._flows:
            self._through_target(hidden, row, distinct, vectors, target_scores, target)
        return Window(
            cross_entropy=cross_entropy, augmented=augmented, hidden=hidden, target_vectors=vectors.index_select(0, row)
        )

    def _scores_to_gradient(self, scores: Tensor, words: Tensor, target: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Overwrites scores a (n, V) with dJ_tot / da.

        Args:
            scores: (n, V).
            words: (n,) ids of the targets.
            target: (U, V), y-tilde of the distinct ones.
            row: (n,), which of them each token has.

        Returns:
            The sums over the tokens of J and of <y-tilde, a / tau> - logsumexp(a / tau), in float64.
        """
        bias, d_bias = self.weights.decoder.bias, self.d_weights.decoder.bias
        assert bias is not None
        assert d_bias is not None
        num_rows, vocab_size = scores.shape
        block, beta = rows_per_block(num_rows, vocab_size, scores.device), self.config.beta
        scratch = scores.new_empty(3, block, vocab_size)
        cross_entropy, cross_term = (scores.new_zeros((), dtype=torch.float64) for _ in range(2))
        for start in range(0, num_rows, block):
            z = scores[start : start + block]
            scaled, y, y_tilde = scratch[:, : z.shape[0]]
            column = words[start : start + block].unsqueeze(-1)
            torch.mul(z, 1 / self.config.tau, out=scaled)
            torch.index_select(target, 0, row[start : start + block], out=y_tilde)
            cross_term += _dot(y_tilde, scaled).sum()
            z.add_(bias)
            torch.softmax(z, -1, out=y)
            log_partition = z.amax(-1, keepdim=True) - y.amax(-1, keepdim=True).log_()
            cross_entropy += (log_partition - z.gather(-1, column)).sum()
            if beta < 1:
                y.scatter_add_(-1, column, y.new_full((), -1.0).expand(column.shape))
                y.mul_(1 - beta)
                d_bias[0].add_(y.sum(0))  # before the augmented loss comes in: y-hat has no bias (eq. 3.1)
            cross_term -= _logsumexp(scaled, softmax=z).sum()
            z.sub_(y_tilde).mul_(self.augmented_scale)
            if beta < 1:
                z.add_(y)
        return cross_entropy, cross_term

    def _through_target(
        self, hidden: Tensor, row: Tensor, distinct: Tensor, vectors: Tensor, target_scores: Tensor, target: Tensor
    ) -> None:
        """Adds the embedding's gradient through y-tilde.

            dJ_aug / dg_u = y-tilde_u (R_u - <y-tilde_u, R_u>) / tau,   R_u = (n_u g_u - W s_u) / tau

        summed over the n_u tokens whose target is u and whose hidden states sum to s_u.

        Args:
            hidden: (N, H).
            row: (N,), which distinct target each token has.
            distinct: (U,), their ids.
            vectors: (U, H), their word vectors.
            target_scores: (U, V), g / tau; overwritten.
            target: (U, V), y-tilde.
        """
        gradients = self.d_weights.decoder
        assert gradients.embedding is not None
        counts = vectors.new_zeros(len(distinct)).index_add_(0, row, vectors.new_ones(len(row)))
        sums = torch.zeros_like(vectors).index_add_(0, row, hidden)
        residual = target_scores.mul_(counts.unsqueeze(-1))
        residual -= product(sums / self.config.tau, self.weights.decoder.decoder[0].t())
        residual -= torch.linalg.vecdot(target, residual).unsqueeze(-1)
        residual.mul_(target)
        scaled = (vectors * self.augmented_scale).unsqueeze(0)
        add_outer(gradients.embedding, residual.unsqueeze(0), scaled, overwrite=False)
        rows = product(residual, self.weights.embedding[0]).mul_(self.augmented_scale)
        add_rows(gradients.embedding, distinct.unsqueeze(0), rows.unsqueeze(0))

    @torch.no_grad()
    def clip(self) -> Tensor:
        """Averages the gradients over the streams and clips them by their global norm.

        Returns:
            The norm before clipping, a scalar tensor.
        """
        norm = norms(torch.stack([norms(g) for g in self.d_weights.named.values()], 1)) / self.config.batch_size
        scale = (self.config.max_grad_norm / norm).clamp_(max=1.0).div_(self.config.batch_size)
        for gradient in self.d_weights.named.values():
            gradient.mul_(scale)
        return norm[0]

    @torch.no_grad()
    def update(self, lr: float) -> None:
        """Updates the weights from the clipped gradients and puts the word vectors back to norm 1."""
        config = self.config
        layers, embedding = lr * config.layer_lr_share, lr * config.embedding_lr_share * lr / config.lr
        lrs = {
            name: lr if name.startswith("decoder") else embedding if name == "embedding" else layers
            for name in self.weights.named
        }
        self.optimizer.step(self.d_weights.trial(0), lrs)
        normalise_rows(self.weights.embedding[0])

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients of the last window by the parameter's name, as they stand (for tests)."""
        return self.d_weights.trial(0)


@torch.no_grad()
def normalise_rows(embedding: Tensor) -> None:
    """Gives each word vector (V, H) norm 1 (section 6.2), in place."""
    embedding.div_(
        torch.linalg.vector_norm(embedding, dim=1, keepdim=True).clamp_min_(torch.finfo(embedding.dtype).tiny)
    )


def _logsumexp(x: Tensor, *, softmax: Tensor | None = None) -> Tensor:
    """logsumexp over the last axis (n, V) -> (n,): exponentials in x's precision, their sum and its log in float64.

    Args:
        x: (n, V).
        softmax: (n, V), to which softmax(x) is written.
    """
    top = x.amax(-1, keepdim=True)
    exponentials = torch.sub(x, top, out=softmax).exp_()
    total = exponentials.sum(-1, keepdim=True, dtype=torch.float64)
    if softmax is not None:
        exponentials.mul_((1 / total).to(x.dtype))
    return (top + total.log()).squeeze(-1)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of the rows of x and y, (n, V) each -> (n,), summed in float64."""
    return (x * y).sum(-1, dtype=torch.float64)
