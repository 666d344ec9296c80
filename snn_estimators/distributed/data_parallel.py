"""Training one model in several processes at a time, each on a GPU or some cores of its own."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags

from snn_estimators.distributed.accelerated_net import accelerated
from snn_estimators.distributed.process_group import ProcessGroup, find_accelerator
from snn_estimators.estimators.text_net import TextNet

__all__ = ["DataParallel"]

_KINDS = ("NO", "MULTI_CPU", "MULTI_GPU")


class DataParallel(BaseEstimator):
    """Trains an estimator in several processes, one a GPU, each on its share of every batch.

    A script that uses it is started by a launcher, once a process::

        accelerate launch --num_processes 2 train.py    # on two GPUs
        torchrun --nproc-per-node 2 train.py            # the same; on CPUs, too

    and every process runs all of it. Started plainly, or in a notebook, it is one process, and
    `fit` is the estimator's own.

    Parameters
    ----------
    estimator : estimator
        A language model or a classifier, with ``device="auto"``: the launcher assigns devices. Its
        `batch_size` is that of one process.

    Attributes
    ----------
    estimator_ : estimator
        What was trained, of the class of `estimator`: an ordinary one, the same in every process.
        Whatever it has (``score``, ``generate``, ``classes_``, ...) can be had from here too, and
        is computed by every process that asks.
    n_processes_ : int
        How many trained it.

    Notes
    -----
    `n` processes with a `batch_size` of `b` do what one does with ``n * b``, up to the rounding of
    sums: they draw the same batches, each computes every n-th row, the loss is the mean over all
    tokens of the batch, and so are the losses and the tokens per second that are logged. Three
    things differ: dropout draws other masks; batch and power normalisation count within each
    process's share, and process 0's running statistics are kept; and callbacks see a ``y_pred`` of
    the share alone.

    Every process must be given the same estimator, X and y, which is checked. Process 0 alone
    writes this package's files and those of skorch's `Checkpoint`, and shows progress; a fit with
    a `name` can be resumed by as many processes as began it, to the bit. Callbacks run in every
    process: loggers write in each, and what freezes parameters, or thaws them, has to do so in all.

    What stops one process stops all: Ctrl-C and callbacks at the end of the same step, an
    exception as soon as they meet again. (A process that fails within the backward pass, say for
    want of memory, cannot say so: the others end when it does.)

    What ``accelerate config`` or an ``Accelerator`` of the script's own says of devices and of
    bf16 holds. fp16, gradient accumulation and sharded models (DeepSpeed, FSDP) raise an error, and
    so does `memory` with several processes or bf16.

    Examples
    --------
    >>> from snn_estimators import DataParallel, SpikeGPTLM
    >>> model = SpikeGPTLM(module__n_layer=2, module__n_embd=16, max_epochs=2, random_state=0)
    >>> parallel = DataParallel(model).fit(["abcabcabcabcabcabc"] * 8)
    >>> parallel.n_processes_, type(parallel.estimator_).__name__
    (1, 'SpikeGPTLM')
    >>> parallel.generate("ab", max_new_tokens=4, temperature=0)
    '...'
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit a clone of the estimator, in all processes together.

        Parameters
        ----------
        X, y, **fit_params
            As in the estimator's own `fit`, the same in every process.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If accelerate is not installed.
        TypeError, ValueError
            As in the estimator's own `fit`; if the estimator is none of ours, has a `device` or
            another parameter that does not go with several processes, or if processes differ.
        RuntimeError
            If another process failed.
        """
        return self._fit("fit", self._to_fit(), X, y, fit_params)

    def partial_fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Train further, in all processes together; see `fit`.

        It continues from `estimator_`, or from `estimator` if that is fitted, which stays as it is.
        """
        start = vars(self).get("estimator_")
        if start is None and getattr(self.estimator, "initialized_", False):
            start = copy.deepcopy(self.estimator)
        if start is None:
            start = self._to_fit()
        return self._fit("partial_fit", start, X, y, fit_params)

    def save_pretrained(self, name_or_path: str | os.PathLike[str]) -> Path:
        """Write the fitted estimator into a folder; process 0 does, and the others wait.

        Call it in every process.

        Parameters
        ----------
        name_or_path : str or path

        Returns
        -------
        Path
            The folder; see the estimator's own `save_pretrained`, which reads the same there.
        """
        save = vars(self).get("estimator_", self.estimator).save_pretrained
        if not torch.distributed.is_initialized():
            return save(name_or_path)
        return ProcessGroup(find_accelerator()).from_main(lambda: save(name_or_path))

    def _to_fit(self) -> Any:
        self._check_estimator()
        estimator = clone(self.estimator)
        if hasattr(estimator, "pretrained"):  # fitted perhaps, and to be copied by fit itself
            estimator.pretrained = self.estimator.pretrained
        return estimator

    def _fit(self, method: str, start: Any, X: Any, y: Any, fit_params: dict[str, Any]) -> Self:
        self._check_estimator()
        accelerator = find_accelerator()
        _check_accelerator(accelerator)
        processes = ProcessGroup(accelerator)
        is_cached = processes.count == 1 and start.memory is not None
        net = start if is_cached else accelerated(start, accelerator, processes)
        try:
            with processes.synchronize():
                _check_memory(start, accelerator)
                if is_cached:  # as the very fit that the estimator alone would do
                    start.device = str(accelerator.device)
                getattr(net, method)(X, y, **fit_params)
        finally:
            if net.initialized_:
                self.estimator_ = start if is_cached else net.plain()
                self.estimator_.device = self.estimator.device
                self.estimator_.verbose = start.verbose
                self.n_processes_ = processes.count
        return self

    def _check_estimator(self) -> None:
        if not isinstance(self.estimator, TextNet):
            raise TypeError(
                "DataParallel takes an estimator of snn_estimators, such as SpikeDecoderLM(), got "
                f"{self.estimator!r}."
            )
        if self.estimator.device not in ("auto", None):
            raise ValueError(
                f"device={self.estimator.device!r} does not go with DataParallel, where the "
                'launcher assigns devices: leave it "auto".'
            )

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return f"{type(self).__name__}(estimator={self.estimator!r})"

    # What the fitted estimator can do, this can

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("estimator", "estimator_", "n_processes_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(vars(self).get("estimator_", self.estimator), name)


def _check_accelerator(accelerator: Any) -> None:
    """Raise an error for what would train something else than was asked for."""
    kind = accelerator.distributed_type.value
    if kind not in _KINDS:
        raise ValueError(
            f"DataParallel keeps the whole model in every process, and does without {kind}: "
            "configure accelerate for several GPUs or CPUs."
        )
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            f"DataParallel trains in full precision or bf16, not in "
            f"{accelerator.mixed_precision}: configure accelerate accordingly."
        )
    if accelerator.gradient_accumulation_steps != 1:
        raise ValueError(
            f"gradient_accumulation_steps={accelerator.gradient_accumulation_steps} is not "
            "supported: leave it 1."
        )


def _check_memory(estimator: Any, accelerator: Any) -> None:
    if estimator.memory is None:
        return
    if accelerator.num_processes > 1:
        raise ValueError(
            "memory keeps no fits of several processes: leave it out, and give a language model a "
            "name to save its fit and to resume it."
        )
    if accelerator.mixed_precision != "no":
        raise ValueError("memory keeps no fits in mixed precision: leave one of them out.")
