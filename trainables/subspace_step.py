"""One step of section 6.2's training: the gradients of loss (6.1), written out, clipping, the update.

    J_tot = beta tau^2 |V| J_aug + (1 - beta) J                                                          (eq. 6.1)
    dJ_tot / da = beta tau |V| (y-hat - y-tilde),   plus (1 - beta) (y - y*) through the biased scores a + b

The layers are those of every other trial (``layer.py``), the target distributions too (``scores.py``); there are no
masks. After each step the word vectors go back to norm 1.

Shapes: T steps, B streams, N = T B tokens, H units, V words, L layers; a leading axis of one stands for the trial.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.batching import distinct_words
from trainables.layer import LayerBuffers, layer_backward, layer_forward
from trainables.model import VDLSTM, State
from trainables.products import Memory, add_outer, add_rows, norms, product, shared_rows
from trainables.scores import AugmentedTerm, TargetDistributions, rows_per_block
from trainables.stack_weights import StackWeights
from trainables.subspace_config import SubspaceConfig
from trainables.subspace_optimizer import SubspaceOptimizer

_TOKENS_PER_CHUNK = 350  # whose scores stand at once, as in ``head.py``
_TARGETS_MULTIPLE = 32  # see ``stack_step.TARGETS_MULTIPLE``


class SubspaceStep:
    """The training step of one run.

    Args:
        model: untied; its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
    """

    def __init__(self, model: VDLSTM, config: SubspaceConfig) -> None:
        self.config = config
        self.weights = StackWeights.of(model)
        self.d_weights = self.weights.like_without()
        like = self.weights.embedding
        shape = (1, config.bptt, config.batch_size, model.hidden_size)
        self.augmented_scale = config.beta * config.tau * model.vocab_size
        """Of dJ_tot / da: beta tau |V|."""
        self._buffers = [LayerBuffers(*shape, like=like) for _ in self.weights.layers]
        self._d_x = [like.new_empty(shape) for _ in self.weights.layers]
        self._d_hidden = like.new_empty(1, config.bptt * config.batch_size, model.hidden_size)
        self._memory = Memory(like.device)
        self.optimizer = SubspaceOptimizer(
            config.optimizer,
            self.weights.trial(0),
            preconditioned=["decoder_weight"],
            lr_shares={
                name: config.embedding_lr_share if name == "embedding" else config.layer_lr_share
                for name in self.weights.named
                if not name.startswith("decoder")
            },
        )
        one = like.new_ones(1, 1, 1)
        flows = config.target_gradient == "flow" and config.beta > 0
        self._term = AugmentedTerm(
            tau=one * config.tau, gamma=one * self.augmented_scale, flow=one.clone() if flows else None
        )

    @torch.no_grad()
    def gradients(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Forward and backward over a window; the gradients, summed over the streams, stay in the step.

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            state: (hidden, cell), each (L, B, H), carried in.

        Returns:
            Sums of J and of J_aug over the window's tokens, each a scalar tensor, and the state to carry on.
        """
        like = self.weights.embedding
        words = inputs.reshape(-1).to(like.device)
        x = shared_rows(like, words).view(1, *inputs.shape, -1)
        xs = []
        for index, (layer, buffers) in enumerate(zip(self.weights.layers, self._buffers, strict=True)):
            xs.append(x)
            x = layer_forward(x, layer, None, state[0][index].unsqueeze(0), state[1][index].unsqueeze(0), buffers)
        losses = self._head(x.reshape(1, inputs.numel(), -1), targets)
        d_x = self._d_hidden.view(1, *inputs.shape, -1)
        for index in range(len(xs) - 1, -1, -1):
            layer, d_layer = self.weights.layers[index], self.d_weights.layers[index]
            layer_backward(d_x, xs[index], layer, None, self._buffers[index], d_layer, self._d_x[index])
            d_x = self._d_x[index]
        add_rows(self.d_weights.embedding, words.unsqueeze(0), d_x.view(1, inputs.numel(), -1))
        hidden, cell = (
            torch.cat(s) for s in zip(*((b.final_hidden, b.final_cell) for b in self._buffers), strict=True)
        )
        return *losses, (hidden, cell)

    def _head(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses' sums, and the gradients of the decoder, its bias, the embedding (y-tilde's) and the states.

        Args:
            hidden: (1, N, H).
            targets: (T, B).
        """
        decoder, gradients = self.weights.decoder.decoder, self.d_weights.decoder
        assert gradients.embedding is not None
        assert gradients.bias is not None
        gradients.embedding.zero_()
        gradients.bias.zero_()
        table, row = self._table(targets)
        words = targets.reshape(-1).to(hidden.device)
        cross_entropy, log_sums = hidden.new_zeros(1), hidden.new_zeros(1)
        for start in range(0, words.numel(), _TOKENS_PER_CHUNK):
            tokens = slice(start, start + _TOKENS_PER_CHUNK)
            scores = product(hidden[:, tokens], decoder.transpose(1, 2))
            ce, log_sum = self._scores_to_gradient(scores[0], words[tokens], table, row[tokens])
            cross_entropy += ce
            log_sums += log_sum
            self._d_hidden[:, tokens] = product(scores, decoder)
            add_outer(gradients.decoder, scores, hidden[:, tokens], overwrite=start == 0)
        augmented = table.finish(hidden, self._d_hidden, decoder, gradients.decoder, gradients.embedding)
        return cross_entropy[0], (augmented + log_sums)[0]

    def _table(self, targets: Tensor) -> tuple[TargetDistributions, Tensor]:
        """y-tilde of the distinct targets, and which of them each token has."""
        like = self.weights.embedding
        distinct, index = (x.to(like.device) for x in distinct_words(targets, multiple_of=_TARGETS_MULTIPLE))
        table = TargetDistributions(
            self._term, like, like, distinct.unsqueeze(0), index.unsqueeze(0), self._memory, gathered=True
        )
        return table, index

    def _scores_to_gradient(
        self, scores: Tensor, words: Tensor, table: TargetDistributions, row: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Overwrites scores (n, V) with dJ_tot / da; the sums of J and of logsumexp(a / tau) over the n tokens."""
        bias, d_bias = self.weights.decoder.bias, self.d_weights.decoder.bias
        assert bias is not None
        assert d_bias is not None
        num_rows, vocab_size = scores.shape
        block, beta = rows_per_block(num_rows, vocab_size, scores.device), self.config.beta
        target = table.target.view(-1, vocab_size)
        scratch = scores.new_empty(2, block, vocab_size)
        cross_entropy, log_sums = scores.new_zeros(()), scores.new_zeros(())
        for start in range(0, num_rows, block):
            z, of = scores[start : start + block], row[start : start + block]
            column = words[start : start + block].unsqueeze(-1)
            scaled = torch.mul(z, 1 / self.config.tau, out=scratch[0, : z.shape[0]])
            z.add_(bias)
            y = torch.softmax(z, -1, out=scratch[1, : z.shape[0]])
            log_partition = z.amax(-1, keepdim=True) - y.amax(-1, keepdim=True).log_()
            cross_entropy += (log_partition - z.gather(-1, column)).sum()
            if beta < 1:
                y.scatter_add_(-1, column, y.new_full((), -1.0).expand(column.shape))
                y.mul_(1 - beta)
                d_bias[0].add_(y.sum(0))  # before the augmented loss comes in: y-hat has no bias (eq. 3.1)
            y_hat = torch.softmax(scaled, -1, out=z)
            log_sums += (scaled.amax(-1) - y_hat.amax(-1).log_()).sum()
            torch.index_select(target, 0, of, out=scaled)
            z.sub_(scaled).mul_(self.augmented_scale)
            if beta < 1:
                z.add_(y)
        return cross_entropy, log_sums

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
        self.optimizer.step(self.d_weights.trial(0), lr)
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
