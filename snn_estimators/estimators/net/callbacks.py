"""What happens around each step of training, one idea a class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from tqdm import tqdm

from snn_estimators.estimators.token_windows import n_counted

__all__ = ["GradientGuard", "Progress", "StepSchedule", "TokenLoss"]


class TokenLoss(Callback):
    """Records ``train_loss`` and ``valid_loss`` as means over tokens, in nats.

    skorch's own average over batches is off as soon as batches differ in their number of tokens.
    """

    def initialize(self) -> TokenLoss:
        """Forget earlier calls of fit."""
        self.best_: dict[str, float] = {}
        self._start_epoch()
        return self

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Reset the sums."""
        self._start_epoch()

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Add a batch's loss, weighted by the number of tokens it predicted."""
        name = "train_loss" if training else "valid_loss"
        n_tokens = n_counted(batch[1])
        total, count = self.sums_.get(name, (0.0, 0))
        loss = net.history[-1, "batches", -1, name]
        self.sums_[name] = total + loss * n_tokens, count + n_tokens

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record the means, and whether they are the best so far (for skorch's Checkpoint)."""
        for name, (total, count) in self.sums_.items():
            loss = total / count if count else 0.0
            is_best = loss < self.best_.get(name, math.inf)
            self.best_[name] = min(loss, self.best_.get(name, math.inf))
            net.history.record(name, loss)
            net.history.record(f"{name}_best", is_best)
        self._start_epoch()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Record what there is of an epoch that was cut short."""
        if self.sums_:
            self.on_epoch_end(net)

    def _start_epoch(self) -> None:
        self.sums_: dict[str, tuple[float, float]] = {}


class GradientGuard(Callback):
    """Clips the norm of the gradient, and stops training before a broken one reaches the weights.

    Parameters
    ----------
    max_norm : float or None
        Largest Euclidean norm of all gradients together; None only guards.
    """

    def __init__(self, max_norm: float | None = 1.0) -> None:
        self.max_norm = max_norm

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Keep the running statistics of norms, which a forward pass changes."""
        if training:
            self.buffers_ = [buffer.clone() for buffer in net.module_.buffers()]

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        """Let them go."""
        self.buffers_ = []

    def on_grad_computed(
        self, net: Any, named_parameters: Iterator[tuple[str, Tensor]], **kwargs: Any
    ) -> None:
        """Clip, or raise FloatingPointError if the loss or a gradient is no finite number."""
        limit = math.inf if self.max_norm is None else self.max_norm
        norm = nn.utils.clip_grad_norm_((p for _, p in named_parameters), limit)
        if not (math.isfinite(net._step_loss) and torch.isfinite(norm)):
            for buffer, before in zip(net.module_.buffers(), self.buffers_, strict=True):
                buffer.copy_(before)
            epoch = len(net.history)
            batch = len(net.history[-1]["batches"])
            clip = "set clip=1.0" if self.max_norm is None else f"clip below {self.max_norm:g}"
            raise FloatingPointError(
                f"The loss or its gradient is not finite in epoch {epoch}, batch {batch}: try a "
                f"lower lr than {net.lr:g}, warmup_steps, or {clip}. The weights are those before "
                "this batch; history_ holds the losses so far."
            )


SCHEDULES = ("cosine", "trapezoid", "constant")
_DESCENT = 0.4  # share of the steps over which a trapezoid comes down


class StepSchedule(Callback):
    """Sets the learning rate before every optimizer step.

    Parameters
    ----------
    schedule : {"cosine", "trapezoid", "constant"}
        From the learning rate down to `floor` of it along half a cosine; in a straight line over
        the last two fifths of the steps; or not at all.
    warmup_steps : int
        Steps over which the rate first rises linearly.
    warmup_tokens : int or None
        The same in tokens, rounded up to whole batches of full windows.
    floor : float
        What is left of the learning rate after the last step.
    """

    def __init__(
        self,
        schedule: str = "cosine",
        warmup_steps: int = 0,
        warmup_tokens: int | None = None,
        floor: float = 0.05,
    ) -> None:
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.warmup_tokens = warmup_tokens
        self.floor = floor

    def initialize(self) -> StepSchedule:
        """Know of no rates yet."""
        self.peaks_: list[float] = []
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note where the rates start."""
        self.step_ = 0
        self.peaks_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.rise_ = self.warmup_steps
        if self.warmup_tokens is not None:
            size = net.get_params_for("iterator_train").get("batch_size", net.batch_size)
            self.rise_ = -(-self.warmup_tokens // (size * net.module_.max_len))

    def on_batch_begin(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Set the rate of the coming step."""
        if training:
            factor = self.factor(self.step_, net.planned_steps_, self.rise_)
            for group, peak in zip(net.optimizer_.param_groups, self.peaks_, strict=True):
                group["lr"] = peak * factor
            self.step_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Put the rates back, for a later partial_fit."""
        for group, peak in zip(net.optimizer_.param_groups, self.peaks_, strict=False):
            group["lr"] = peak

    def factor(self, step: int, n_steps: int, rise: int = 0) -> float:
        """Return what the learning rate is multiplied with in a step, counted from 0.

        Examples
        --------
        >>> [round(StepSchedule().factor(step, 7, rise=2), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.861, 0.525, 0.189, 0.05]
        >>> [round(StepSchedule("trapezoid").factor(step, 6), 3) for step in range(6)]
        [1.0, 1.0, 1.0, 1.0, 0.525, 0.05]
        """
        if step < rise:
            return (step + 1) / rise
        if self.schedule == "constant":
            return 1.0
        last = n_steps - 1 - rise
        progress = min(1.0, (step - rise) / last) if last > 0 else 0.0
        if self.schedule == "trapezoid":
            share = min(1.0, (1 - progress) / _DESCENT)
        else:
            share = (1 + math.cos(math.pi * progress)) / 2
        return self.floor + (1 - self.floor) * share


class Progress(Callback):
    """One bar over all steps of a fit, with the loss; shown if the estimator is verbose."""

    not_resumed = ("bar_",)
    bar_: tqdm | None

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Open the bar at the first step, at the position that a resumed fit had reached."""
        if self.bar_ is None and net.verbose and training:
            self.bar_ = tqdm(
                total=net.planned_steps_,
                initial=net._position.steps,
                unit="step",
                desc=type(net).__name__,
            )

    def initialize(self) -> Progress:
        """Start without a bar."""
        self.bar_ = None
        return self

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Move on by a step."""
        if self.bar_ is not None and training:
            loss = net.history[-1, "batches", -1, "train_loss"]
            self.bar_.set_postfix(epoch=len(net.history), loss=f"{loss:.3f}", refresh=False)
            self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar_ is not None:
            self.bar_.close()
            self.bar_ = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "bar_": None}  # a bar holds the terminal: not to be pickled
