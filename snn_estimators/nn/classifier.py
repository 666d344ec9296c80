"""SequenceClassifier: one decision a sequence, on top of a language model's features."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from snn_estimators._validation import check_choices

__all__ = ["DECISIONS", "SequenceClassifier"]

DECISIONS = ("mean", "last")


class SequenceClassifier(nn.Module):
    """A language model whose output map gives classes instead of tokens.

    Parameters
    ----------
    backbone : Module
        Such as `SpikingDecoder`: with ``features(tokens)`` of shape [batch, sequence,
        ``n_features``], ``position_limit``, ``vocab_size``, and its output map as ``head.linear``,
        which is replaced. The module becomes part of this one: pass a copy to keep it.
    n_classes : int
    decision : {"mean", "last"}, default="mean"
        What the map reads: the mean of the features over all tokens, or those at the last token.
    keep_statistics : bool, default=False
        Leave the running statistics of batch norm as they are, and train with them: for backbones
        that are trained already.

    Raises
    ------
    ValueError
        If there is no such decision, or there are fewer than two classes.

    Notes
    -----
    Sequences may be longer than the ``position_limit`` of the backbone, if it has one. "mean" then
    runs it on consecutive windows of that length, each without a memory of those before it, and
    averages over the tokens of all windows. "last" runs it on the last window alone, as nothing
    before it could reach the last token's features. A sequence without a token has features of
    zero, so its logits are the bias.

    Examples
    --------
    >>> from snn_estimators.nn import SpikingDecoder
    >>> classifier = SequenceClassifier(SpikingDecoder(30, max_len=8, blocks=1), n_classes=3)
    >>> classifier(torch.zeros(2, 20, dtype=torch.long)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        backbone: Any,
        n_classes: int,
        decision: str = "mean",
        keep_statistics: bool = False,
    ) -> None:
        super().__init__()
        check_choices({"decision": DECISIONS}, decision=decision)
        if n_classes < 2:
            raise ValueError(f"n_classes={n_classes!r} must be at least 2.")
        self.decision, self.keep_statistics = decision, keep_statistics
        self.backbone = backbone
        before = backbone.head.linear.weight
        self.backbone.head.linear = nn.Linear(
            backbone.n_features, n_classes, device=before.device, dtype=before.dtype
        )

    @property
    def vocab_size(self) -> int:
        """Number of different tokens that the backbone knows."""
        return self.backbone.vocab_size

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.backbone.head.linear.out_features

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode."""
        super().train(mode)
        if self.keep_statistics:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm1d):
                    part.eval()
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the logits of the classes.

        Parameters
        ----------
        tokens : LongTensor, shape [batch, sequence]
            Of any length. Negative ids are padding, on the right.

        Returns
        -------
        Tensor, shape [batch, n_classes]
        """
        return self.backbone.head.linear(self.pool(tokens))

    def pool(self, tokens: Tensor) -> Tensor:
        """Summarise sequences, shape [batch, sequence], as features, shape [batch, n_features]."""
        windows = self.windows(tokens)  # [batch, window, position]
        valid = windows >= 0
        counted = valid
        if self.decision == "last":  # the one position that is followed by no token
            counted = valid & ~nn.functional.pad(valid, (0, 1))[..., 1:]
        filled = valid.any(-1)
        weight = self.backbone.head.linear.weight
        sums = weight.new_zeros(*filled.shape, self.backbone.n_features)
        if bool(filled.any()):
            features = self.backbone.features(windows[filled])
            sums[filled] = features.masked_fill(~counted[filled][..., None], 0).sum(1)
        return sums.sum(1) / counted.sum((1, 2)).clamp_min(1)[:, None]

    def windows(self, tokens: Tensor) -> Tensor:
        """Cut sequences, shape [batch, sequence], into what the backbone sees at a time.

        Returns
        -------
        LongTensor, shape [batch, window, position]
            Padded with -1 on the right; some windows may hold nothing else.
        """
        limit = self.backbone.position_limit
        length = tokens.shape[1]
        if limit is None or length <= limit:
            return tokens[:, None]
        if self.decision == "last":
            n_tokens = (tokens >= 0).sum(1, keepdim=True)
            start = (n_tokens - limit).clamp_min(0)
            return tokens.gather(1, start + torch.arange(limit, device=tokens.device))[:, None]
        missing = -length % limit
        return nn.functional.pad(tokens, (0, missing), value=-1).unflatten(1, (-1, limit))
