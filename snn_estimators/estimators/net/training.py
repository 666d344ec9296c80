"""The training recipe: optimizer groups, schedule, guards, and when to stop."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Self

from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping, EpochTimer
from torch import Tensor, nn
from torch.utils.data import Dataset

from snn_estimators._torch import check_device
from snn_estimators._validation import check_choices, check_whole, is_float, is_number
from snn_estimators._warnings import warn
from snn_estimators.estimators.net.base import SklearnNet
from snn_estimators.estimators.net.callbacks import (
    SCHEDULES,
    GradientGuard,
    Progress,
    StepSchedule,
    TokenLoss,
)
from snn_estimators.estimators.net.net_state import (
    load_training_state,
    training_state,
    unsaved_attributes,
)
from snn_estimators.estimators.token_windows import n_counted
from snn_estimators.persistence.checkpointing import Checkpointer, Position
from snn_estimators.persistence.hashing import hash_arrays
from snn_estimators.persistence.training_state import BatchOrderError

__all__ = ["Split", "TrainedNet"]


class Split(NamedTuple):
    """Training data as skorch's loop wants it."""

    train: Dataset
    valid: Dataset | None


class TrainedNet(SklearnNet):
    """A net with a training recipe; subclasses call `_train` with a dataset.

    An interrupted fit says so (`interrupted_`), and one that diverges stops before the weights are
    spoilt.
    """

    weight_decay: float
    betas: tuple[float, float]
    clip: float | None
    schedule: str
    warmup_steps: int
    warmup_tokens: int | None
    lr_final: float | None
    max_steps: int | None
    evaluate_every_n_steps: int | None = None
    _step_loss: float
    _checkpointer: Checkpointer
    _position: Position
    _valid: Dataset | None
    _last_batch: Any
    _redrawn: Iterator[Any]  # batches of an epoch that was cut off
    n_iter_: int
    n_steps_: int

    # Optimizer and callbacks

    def get_params_for_optimizer(
        self, prefix: str, named_parameters: Iterator[tuple[str, Tensor]]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Group the parameters by whether they decay; a skorch hook.

        Weights of linear layers and learnable thresholds decay; biases, norms and embeddings do
        not. Groups that ``optimizer__param_groups`` gives a decay of their own keep it.
        """
        (groups, *args), kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        accepted = inspect.signature(self.optimizer).parameters
        if "betas" in accepted:
            kwargs.setdefault("betas", tuple(self.betas))
        if "weight_decay" in accepted:
            decay = kwargs.pop("weight_decay", self.weight_decay)
            groups = [part for group in groups for part in self._split_by_decay(group, decay)]
        return (groups, *args), kwargs

    def _split_by_decay(self, group: dict[str, Any], decay: float) -> list[dict[str, Any]]:
        if "weight_decay" in group:
            return [group]
        linear = (m for m in self.module_.modules() if isinstance(m, nn.Linear))
        decaying = {id(layer.weight) for layer in linear}
        for name, parameter in self.module_.named_parameters():
            if name.rpartition(".")[2] == "v_threshold":
                decaying.add(id(parameter))
        halves = (
            (decay, [p for p in group["params"] if id(p) in decaying]),
            (0.0, [p for p in group["params"] if id(p) not in decaying]),
        )
        return [{**group, "params": ps, "weight_decay": rate} for rate, ps in halves if ps]

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        floor = {} if self.lr_final is None else {"floor": self.lr_final / self.lr}
        schedule = StepSchedule(self.schedule, self.warmup_steps, self.warmup_tokens, **floor)
        return [
            ("epoch_timer", EpochTimer()),
            ("token_loss", TokenLoss()),
            ("gradient_guard", GradientGuard(self.clip)),
            ("step_schedule", schedule),
            ("progress", Progress()),
        ]

    # The loop

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute loss and gradients of a batch; a skorch hook."""
        step = super().train_step_single(batch, **fit_params)
        # skorch shows callbacks the loss only after the optimizer's step: too late for the guard.
        self._step_loss = float(step["loss"].detach())
        self._position.lr = float(self.optimizer_.param_groups[0]["lr"])
        return step

    def _train(
        self, dataset: Dataset | Split, method: str, checkpointer: Checkpointer, **fit_params: Any
    ) -> Self:
        """Train the initialized net for `max_epochs` or `max_steps` (more)."""
        self.interrupted_ = False
        self._checkpointer, self._position = checkpointer, Position()
        try:
            super().partial_fit(dataset, _routing_method=method, **fit_params)
            self._checkpointer.on_fit_end(self, self._position)
        except BaseException as error:
            self.notify("on_train_end", X=dataset, y=None)  # lets callbacks close what they opened
            self._checkpointer.on_error(error, self._position)
            raise
        finally:
            self._update_counters()
            # A fitted net holds neither files nor data.
            self._checkpointer, self._valid, self._last_batch = Checkpointer(), None, ()
        return self

    def _update_counters(self) -> None:
        """Count what was done, and note where the random numbers stand."""
        self.n_iter_ = len(self.history)
        self.n_steps_ = sum(map(_n_steps, self.history))
        self._states_after_training = self._generator_states()

    # The state of a training

    def training_state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, at the end of a step or an epoch.

        The values are numbers, strings, tensors, and containers of them.
        """
        return training_state(self)

    def load_training_state_dict(
        self, state: Mapping[str, Any], data: Dataset | None = None
    ) -> None:
        """Put the initialized net where `training_state_dict` found one.

        Parameters
        ----------
        state : mapping
        data : Dataset, optional
            What the fit in progress trains on; left out if the state is that of a finished fit.

        Raises
        ------
        ResumeError
            If the state is not that of such a net, which stays as it is.
        """
        if data is None:
            self._position, self._last_batch = Position(), ()
        load_training_state(self, state, data)
        self._update_counters()

    def unsaved_attributes(self) -> list[tuple[str, str, str]]:
        """Return name, attribute and its type of callbacks that no checkpoint can hold."""
        return unsaved_attributes(self)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks, then the checkpointer, which saves their states; a skorch hook."""
        position = self._position
        if method_name == "on_epoch_begin" and position.batches:
            return  # this epoch began before the fit was cut off
        super().notify(method_name, **cb_kwargs)
        if method_name == "on_batch_end" and cb_kwargs["training"]:
            self._checkpointer.on_step_end(self, position)
        elif method_name == "on_epoch_end":
            position.epochs += 1
            position.batches = 0
            self._checkpointer.on_epoch_end(self, position)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Count the step, and evaluate if it is time to, before the callbacks; a skorch hook."""
        if not training:
            return
        self._position.steps += 1
        self._position.batches += 1
        self._position.n_tokens = int(n_counted(batch[1]))
        self._last_batch = batch
        self.n_steps_ += 1
        self.n_iter_ = len(self.history)
        every = self.evaluate_every_n_steps
        if every is not None and self._position.steps % every == 0:
            self.history.record_batch("step_valid_loss", self._validation_loss())

    def _validation_loss(self) -> float:
        """Return the mean loss of the validation side's tokens; training's generators stay."""
        total, n_tokens = 0.0, 0.0
        with self._private_generators(0):
            for batch in self.get_iterator(self._valid, training=False):
                count = n_counted(batch[1])
                total += float(self.validation_step(batch)["loss"]) * count
                n_tokens += count
        return total / n_tokens if n_tokens else 0.0

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Split:
        """Split into training and validation data, once a fit; a skorch hook."""
        if isinstance(X, Split):
            return X
        return Split(*super().get_split_datasets(X, y, **fit_params))

    def fit_loop(
        self,
        X: Any,
        y: Any = None,
        epochs: int | None = None,
        *,
        _routing_method: str = "fit",
        **fit_params: Any,
    ) -> Self:
        """Train for `max_epochs` or `max_steps`; a skorch hook."""
        split = self.get_split_datasets(X, y, **fit_params)
        steps_per_epoch = len(self.get_iterator(split.train, training=True))
        epochs = self.max_epochs if epochs is None else epochs
        if self.max_steps is not None:
            epochs = -(-self.max_steps // steps_per_epoch)
        self.planned_steps_ = self.max_steps or epochs * steps_per_epoch
        self._valid = split.valid
        self._update_counters()
        self._checkpointer.on_fit_begin(self, self._position, split)  # and resume
        epochs -= self._position.epochs
        try:
            super().fit_loop(split, y, epochs=epochs, _routing_method=_routing_method)
        except KeyboardInterrupt:
            if not self._stopped_early():
                self.interrupted_ = True
                warn(
                    f"Training was interrupted in epoch {len(self.history)}: the estimator is "
                    "usable as it stands, but not finished (interrupted_ is True)."
                    f"{self._checkpointer.resume_hint()}",
                    ConvergenceWarning,
                )
            raise  # skorch ends the training
        return self

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Run one epoch, or what is left of it, as far as `max_steps` allows; a skorch hook."""
        if not training:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
            return
        position = self._position
        steps_left = self.planned_steps_ - position.steps
        position.epoch_length = min(len(iterator), position.batches + steps_left)
        if position.batches:
            iterator = self.__dict__.pop("_redrawn")
        else:
            position.epoch_start = self._generator_states()
        batches = islice(iterator, steps_left)
        super().run_single_epoch(batches, training, prefix, step_fn, **fit_params)
        self.history.record(f"{prefix}_batch_count", position.batches)

    def _redraw_batches(self, data: Dataset) -> None:
        """Draw again the batches of the epoch that was cut off, and set aside what is left."""
        now = self._generator_states()
        assert self._position.epoch_start is not None
        self._set_generators(self._position.epoch_start)
        self._redrawn = iter(self.get_iterator(data, training=True))
        self._last_batch = next(islice(self._redrawn, self._position.batches - 1, None), ())
        if hash_arrays(self._last_batch) != self._position.last_batch:
            raise BatchOrderError(
                "The batches of the epoch that was cut off cannot be drawn again: "
                "iterator_train must take its random numbers from PyTorch's default generator."
            )
        self._set_generators(now)

    def _stopped_early(self) -> bool:
        """Distinguish skorch's early stopping, a KeyboardInterrupt, from a person's Ctrl-C."""
        stoppers = (cb for _, cb in self.callbacks_ if isinstance(cb, EarlyStopping))
        return any(cb.misses_ >= cb.patience for cb in stoppers)

    def _check_recipe(self) -> None:
        """Raise an error for values that would fail deep inside, or train nothing."""
        for name in ("max_epochs", "batch_size", "max_steps", "warmup_steps", "warmup_tokens"):
            value = getattr(self, name)
            least = 0 if name.startswith("warmup") else 1
            check_whole(name, value, least, optional=name in ("max_steps", "warmup_tokens"))
        if self.warmup_steps and self.warmup_tokens:
            raise ValueError("warmup_steps and warmup_tokens say the same thing: give one of them.")
        for name in ("lr", "clip", "lr_final"):
            value = getattr(self, name)
            if not (value is None and name != "lr") and not _is_positive(value):
                raise ValueError(f"{name} must be a positive number, got {value!r}.")
        if self.lr_final is not None and self.lr_final > self.lr:
            raise ValueError(
                f"lr_final={self.lr_final!r} is above lr={self.lr!r}, from which it comes down: "
                "lower it, or raise lr."
            )
        if not is_float(self.weight_decay) or not 0 <= self.weight_decay < float("inf"):
            raise ValueError(
                f"weight_decay must be a finite number from 0 on, got {self.weight_decay!r}."
            )
        if not _is_pair_of_betas(self.betas):
            raise ValueError(
                f"betas must be two numbers from 0 on and below 1, got {self.betas!r}."
            )
        check_choices({"schedule": SCHEDULES}, schedule=self.schedule)
        if self.train_split and not callable(self.train_split):
            raise ValueError(
                "train_split must be None or something to call, such as skorch's ValidSplit(5), "
                f"got {self.train_split!r}."
            )
        self._check_evaluation()
        check_device(self.device)

    def _check_evaluation(self) -> None:
        every = self.evaluate_every_n_steps
        check_whole("evaluate_every_n_steps", every, 1, optional=True)
        if every is not None and not self.train_split:
            raise ValueError(
                f"evaluate_every_n_steps={every} needs data to evaluate on: set train_split, "
                "such as skorch's ValidSplit(10)."
            )


def _n_steps(epoch: Mapping[str, Any]) -> int:
    """Return the number of an epoch's steps; those of one that was cut off are counted."""
    recorded = epoch.get("train_batch_count")
    return sum("train_loss" in row for row in epoch["batches"]) if recorded is None else recorded


def _is_positive(value: Any) -> bool:
    return is_float(value) and 0 < float(value) < float("inf")


def _is_pair_of_betas(value: Any) -> bool:
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        return False
    return all(is_number(beta) and 0 <= beta < 1 for beta in value)
