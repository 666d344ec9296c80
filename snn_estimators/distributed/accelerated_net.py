"""Any estimator as one process of several that train it together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import torch
from skorch.hf import AccelerateMixin
from torch import Tensor, nn
from torch.utils.data import Dataset

from snn_estimators.distributed.checkpointing import GroupRole
from snn_estimators.distributed.process_group import ProcessGroup
from snn_estimators.estimators.net.training import Split
from snn_estimators.estimators.token_windows import n_counted
from snn_estimators.persistence.checkpointing import Checkpointer, Role
from snn_estimators.persistence.description import describe_parameters
from snn_estimators.persistence.hashing import hash_arrays, hash_split
from snn_estimators.text import IGNORED

__all__ = ["accelerated"]


def accelerated(estimator: Any, accelerator: Any, processes: ProcessGroup) -> Any:
    """Return an estimator that trains with others, and shares all attributes with the given one."""
    kind: Any = type(estimator)
    net: Any = object.__new__(_accelerated_class(kind))
    vars(net).update(vars(estimator))
    device = accelerator.device
    vars(net).update(
        _accelerator=accelerator,
        _processes=processes,
        _wrapped_with_accelerator=False,
        _wrapped_for=[],
        _n_passes=0,
        _plain=kind,
        _asked_for=estimator.device,
        device="cpu" if device.type == "cpu" else str(device),  # "cpu:0" cannot be loaded to
        verbose=estimator.verbose if processes.is_main else 0,
    )
    if "module_" in vars(net):
        net.module_ = vars(net).pop("module_")
    return net


_OWN = {
    "_accelerator",
    "_processes",
    "_wrapped_with_accelerator",
    "_wrapped_for",
    "_n_passes",
    "_plain",
    "_asked_for",
}


@cache
def _accelerated_class(kind: type) -> type:
    # Of the same name, which is what files and memories know it by.
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind)(kind.__name__, (_Accelerated, kind), names)


class _Accelerated(AccelerateMixin):
    """What differs when several processes train: each computes its share of every batch.

    All processes draw the same batches, of as many rows as all of them are to compute, so history,
    callbacks and schedule are about whole batches everywhere. accelerate's own way with data would
    repeat rows to even out the last batch, which then weigh twice.
    """

    callbacks__print_log__sink = None  # of a callback that our nets do not have
    _accelerator: Any
    _processes: ProcessGroup
    _checkpointer: Any
    _prepared: nn.Module
    _criteria: list[str]
    optimizer_: Any
    _wrapped_for: list[str]  # names of the parameters whose gradients are added up
    _n_passes: int  # steps since then
    _wrapped_with_accelerator: bool
    _plain: type
    _asked_for: Any = "auto"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super(AccelerateMixin, self).__init__(*args, **kwargs)  # asks for no accelerator

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, `device` as it was given."""
        return {**super().get_params(deep=deep), "device": self._asked_for}

    def plain(self) -> Any:
        """Return what was trained, as an estimator that knows nothing of accelerate."""
        self._unwrap_accelerator()
        attributes = dict(vars(self))
        attributes["device"] = self._asked_for
        for name in vars(self).keys() & _OWN:
            del attributes[name]
        estimator: Any = object.__new__(self._plain)
        if "_prepared" in attributes:
            attributes["module_"] = attributes.pop("_prepared")
        vars(estimator).update(attributes)
        return estimator

    # What the mix-in asks for

    @property
    def accelerator(self) -> Any:
        return self._accelerator

    @property
    def module_(self) -> Any:
        """The module itself: wrapped, it is the business of `infer` alone."""
        try:
            return self._accelerator.unwrap_model(vars(self)["_prepared"])
        except KeyError:
            raise AttributeError("module_") from None

    @module_.setter
    def module_(self, module: nn.Module) -> None:
        self.__dict__["_prepared"] = module  # past skorch, to which it would be one more module

    def initialize(self) -> Self:
        self._unwrap_accelerator()
        self.initialized_ = False  # so that skorch does not print what it rebuilds
        return super().initialize()

    def _validate_params(self) -> None:
        """Do without the mix-in's check: here `device` is the accelerator's."""

    def _initialize_accelerator(self) -> Self:
        if self._wrapped_with_accelerator:
            return self
        with self._processes.synchronize():
            if any(p.requires_grad for p in self.criterion_.parameters()):
                raise ValueError(
                    f"criterion={self.criterion!r} has parameters to train, which DataParallel "
                    "leaves alone: put them into the module."
                )
        self._agree("parameters", repr(describe_parameters(self)))
        self._agree("data", repr([(n, p.shape) for n, p in self.module_.named_parameters()]))
        self._note_trainable()
        # accelerate would wrap the criterion too, which on CPUs fails for want of parameters.
        criteria, self._criteria = self._criteria, []
        try:
            with self._wrapping():
                self.criterion_.to(self.device)  # where that of a fitted estimator is not yet
                return super()._initialize_accelerator()
        finally:
            self._criteria = criteria

    @contextmanager
    def _wrapping(self) -> Iterator[None]:
        with self._processes.exposed(), warnings.catch_warnings():
            # PyTorch has a new name for it, which accelerate cannot pass on yet.
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            yield

    def _unwrap_accelerator(self) -> None:
        if self._wrapped_with_accelerator:
            self.optimizer_ = self.optimizer_.optimizer
            self._unwrap_module()
            self._wrapped_with_accelerator = False

    def _unwrap_module(self) -> None:
        module = self.module_
        left = {"_is_accelerate_prepared"}
        if "_original_forward" in vars(module):  # which mixed precision has replaced
            left.add("forward")
        self.module_ = self._accelerator.unwrap_model(self._prepared, keep_fp32_wrapper=False)
        for name in left:
            vars(module).pop(name, None)
        self._accelerator.free_memory()

    def _note_trainable(self) -> None:
        self._wrapped_for = _trainable(self.module_)
        self._n_passes = 0
        self._agree("parameters to train (requires_grad)", repr(self._wrapped_for))

    def _follow_freezing(self) -> None:
        """Wrap again if callbacks have frozen or thawed parameters: a wrapper sticks to its own."""
        if self._processes.count == 1:
            return
        if _trainable(self.module_) != self._wrapped_for:
            self._note_trainable()
            with self._wrapping():
                self._unwrap_module()
                self.module_ = self._accelerator.prepare(self.module_)
        if self._n_passes < 2:
            with self._processes.synchronize():
                pass  # the second pass forward broadcasts an order: no process may wait for ever
        self._n_passes += 1

    # Beginning

    def _role(self) -> Role:
        return Role() if self._processes.count == 1 else GroupRole(self._processes)

    def _draw_seed(self) -> int:
        return self._processes.from_main(super()._draw_seed)

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return a component's parameters; batches are for all processes."""
        parameters = super().get_params_for(prefix)
        if prefix in ("iterator_train", "iterator_valid"):
            size = parameters.get("batch_size", self.batch_size)
            parameters["batch_size"] = size * self._processes.count
        return parameters

    def get_iterator(self, dataset: Dataset, training: bool = False) -> Any:
        """Batch the data, the same way in every process."""
        return super(AccelerateMixin, self).get_iterator(dataset, training)

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Split:
        """Split the data, and raise ValueError if processes have different ones."""
        split = super().get_split_datasets(X, y, **fit_params)
        if isinstance(X, Split):
            return split
        self._agree("data", hash_arrays(*_content(X)))
        self._agree("sides of train_split (give it a random_state)", hash_split(split))
        return split

    def _agree(self, what: str, value: str) -> None:
        """Raise ValueError if processes were not given the same."""
        if self._processes.any_differ(value):
            raise ValueError(
                f"The processes of the training have different {what}: each must be given the "
                "same, and takes its share by itself."
            )

    def _train(
        self, dataset: Any, method: str, checkpointer: Checkpointer, **fit_params: Any
    ) -> Self:
        self._initialize_accelerator()  # unless `initialize` has
        return super()._train(dataset, method, checkpointer, **fit_params)

    # Steps

    def _module_to_call(self) -> nn.Module:
        """Prepare to add up the module's gradients if there will be any."""
        module: nn.Module = self._prepared if torch.is_grad_enabled() else self.module_
        return module

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute loss and gradients of a batch, each process those of its share."""
        self._follow_freezing()
        self._set_training(True)
        with self._own_random_numbers():
            step, loss = self._step(batch, training=True)
        with self._processes.exposed():
            # Gradients are about to be averaged over processes; they are to be added up.
            self.accelerator.backward(loss * self._processes.count)
        self._step_loss = float(step["loss"])
        self._position.lr = float(self.optimizer_.param_groups[0]["lr"])
        return step

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss of a batch, each process that of its share."""
        self._set_training(False)
        with torch.no_grad():
            return self._step(batch, training=False)[0]

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        """Run the module on a whole batch, in whichever process it is asked for."""
        return super(AccelerateMixin, self).evaluation_step(batch, training)

    def _step(self, batch: Any, *, training: bool) -> tuple[dict[str, Any], Tensor]:
        """Return a step on a whole batch, and what this process adds to its loss."""
        inputs, targets, weight = self._share(batch)
        with self._processes.synchronize() as tally:
            y_pred = self.infer(inputs)
            if weight:
                loss = weight * self.get_loss(y_pred, targets, X=inputs, training=training)
            else:
                loss = 0 * y_pred.sum()
            tally.loss = float(loss.detach())
            if self._processes.count > 1:
                tally.interrupts = float(self._checkpointer.interrupt.noted)
        if tally.interrupts:
            self._checkpointer.interrupt.pending = True
        return {"loss": torch.tensor(tally.loss), "y_pred": y_pred}, loss

    def _share(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, float]:
        """Return this process's rows of a batch, and the weight of their mean loss in the whole."""
        inputs, targets = batch
        if self._processes.count == 1:
            return inputs, targets, 1.0
        rows = slice(self._processes.index, None, self._processes.count)
        if self._processes.index >= len(inputs):  # there are not enough: do as the first one does
            return inputs[:1], targets[:1], 0.0
        if getattr(self.criterion_, "reduction", "mean") == "sum":
            return inputs[rows], targets[rows], 1.0
        return inputs[rows], targets[rows], self._weight(targets[rows]) / self._weight(targets)

    def _weight(self, targets: Tensor) -> float:
        """Return what a mean over targets is divided by."""
        weights = getattr(self.criterion_, "weight", None)
        if weights is None or targets.is_floating_point():
            return n_counted(targets)
        return float(weights.cpu()[targets[targets != IGNORED]].sum())

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Let each process drop out in its own way; the shared generators stay as they are."""
        if self._processes.count == 1:
            yield
            return
        parts = (self._generator_states()[0], self._position.steps, self._processes.index)
        with self._private_generators(int(hash_arrays(*parts)[:8], 16)):
            yield

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Notify the callbacks of an event; what ends the training ends it everywhere."""
        ends_step = method_name == "on_batch_end" and cb_kwargs["training"]
        if not (ends_step or method_name == "on_epoch_end"):
            super().notify(method_name, **cb_kwargs)
            return
        with self._processes.synchronize():
            super().notify(method_name, **cb_kwargs)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Take over what process 0 has counted, then count the step; a skorch hook."""
        if training and self._processes.count > 1:
            self._processes.broadcast(_running_statistics(self.module_))
        super().on_batch_end(net, batch=batch, training=training, **kwargs)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Do not wait for others, who may have failed; a skorch hook."""
        super(AccelerateMixin, self).on_train_end(net, X=X, y=y, **kwargs)

    # Files of callbacks

    def save_params(self, *args: Any, **kwargs: Any) -> None:
        """Write what skorch's ``save_params`` writes, once."""
        if self._processes.is_main:
            super(AccelerateMixin, self).save_params(*args, **kwargs)

    def save_history(self, *args: Any, **kwargs: Any) -> None:
        """Write what skorch's ``save_history`` writes, once."""
        if self._processes.is_main:
            super().save_history(*args, **kwargs)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load what `save_params` wrote."""
        super(AccelerateMixin, self).load_params(*args, **kwargs)


def _trainable(module: nn.Module) -> list[str]:
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def _running_statistics(module: nn.Module) -> list[Tensor]:
    """Return the buffers that training changes."""
    buffers = dict(module.named_buffers())
    return [buffers[name] for name in module.state_dict() if name in buffers] if buffers else []


def _content(dataset: Any) -> list[Any]:
    """Return the token ids and labels in a dataset."""
    labels = getattr(dataset, "labels", None)
    return [list(dataset.documents), *([] if labels is None else [labels.codes])]
