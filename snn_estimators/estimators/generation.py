"""Text generation with constant work and memory per token, through the module's recurrent form."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from snn_estimators._validation import check_whole, is_number
from snn_estimators.text import Ids, check_documents

__all__ = ["Generation", "Sampler", "stream_ids"]

Floats = npt.NDArray[np.float64]


class Sampler:
    """Draws one token from logits.

    Parameters
    ----------
    temperature : float
        Divides the logits; 0 takes the most likely token.
    top_k : int, optional
        Draw among so many most likely tokens.
    top_p : float, optional
        Draw among the fewest most likely tokens that hold this probability together [1]_.
    forbidden : sequence of int
        Ids that are never drawn.

    References
    ----------
    .. [1] Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020.

    Examples
    --------
    >>> Sampler(temperature=0.0)(np.array([0.1, 0.7, 0.2]), np.random.default_rng(0))
    1
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        forbidden: Sequence[int] = (),
    ) -> None:
        if not is_number(temperature) or not 0 <= temperature < np.inf:
            raise ValueError(f"temperature must be a finite number from 0 on, got {temperature!r}.")
        check_whole("top_k", top_k, 1, optional=True)
        if top_p is not None and not (is_number(top_p) and 0 < top_p <= 1):
            raise ValueError(f"top_p must be None or in (0, 1], got {top_p!r}.")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.forbidden = list(forbidden)

    def __call__(self, logits: Floats, rng: np.random.Generator) -> int:
        """Return the id drawn from logits of shape (vocab_size,)."""
        logits = logits.copy()
        logits[self.forbidden] = -np.inf
        if self.temperature == 0:
            return int(logits.argmax())
        order = np.argsort(-logits, kind="stable")[: self.top_k]
        scaled = (logits[order] - logits[order[0]]) / self.temperature
        cumulated = np.cumsum(np.exp(scaled))
        if self.top_p is not None:
            n_kept = int(np.searchsorted(cumulated, self.top_p * cumulated[-1])) + 1
            cumulated = cumulated[:n_kept]
        drawn = np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right")
        return int(order[min(int(drawn), len(cumulated) - 1)])


def stream_ids(
    module: Any,
    prompts: Sequence[Ids],
    n_tokens: int,
    sampler: Sampler,
    seeds: Sequence[np.random.SeedSequence],
) -> Iterator[Ids]:
    """Yield the next token of each prompt, shape (n_prompts,), so many times.

    A prompt has at least one token; of a long one the last ``position_limit`` tokens are read. Each
    has a seed of its own, so that its continuation does not depend on its neighbours.

    A position beyond ``position_limit`` has no code. There the state is dropped and rebuilt from
    the last ``position_limit // 2`` tokens, so that the work per token stays constant on average
    (about two steps) and so does the memory. Without a limit the state never ends.
    """
    limit = module.position_limit
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        length = len(prompt) if limit is None else min(len(prompt), limit)
        groups.setdefault(length, []).append(index)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    continuations = [
        _continue_equal_lengths(
            module,
            np.stack([prompts[i][-length:] for i in members]).astype(np.int64),
            sampler,
            [rngs[i] for i in members],
        )
        for length, members in groups.items()
    ]
    for _ in range(n_tokens):
        drawn = np.empty(len(prompts), np.int64)
        for members, continuation in zip(groups.values(), continuations, strict=True):
            drawn[members] = next(continuation)
        yield drawn


def _continue_equal_lengths(
    module: Any, prompts: Ids, sampler: Sampler, rngs: Sequence[np.random.Generator]
) -> Iterator[Ids]:
    """Continue prompts of one length, shape (n_prompts, length), in lockstep and without end."""
    limit = module.position_limit
    recent = deque(prompts.T, maxlen=1 if limit is None else max(1, limit // 2))
    pending, position, state = prompts, 0, None
    while True:
        if limit is not None and position + pending.shape[1] > limit:
            pending, position, state = np.stack(recent, axis=1), 0, None
        logits, state = _step(module, pending, state)
        position += pending.shape[1]
        drawn = np.array([sampler(row, rng) for row, rng in zip(logits, rngs, strict=True)])
        recent.append(drawn)
        pending = drawn[:, None]
        yield drawn


def _step(module: Any, ids: Ids, state: Any) -> tuple[Floats, Any]:
    """Feed ids, shape (n_prompts, length); return the logits after the last one, and the state.

    A long prompt goes in window by window, so that its memory does not grow with its length.
    """
    device = next(module.parameters()).device
    with torch.no_grad():
        for part in torch.from_numpy(ids).to(device).split(module.max_len, dim=1):
            logits, state = module.stream(part, state)
    last: Tensor = logits[:, -1]
    return last.double().cpu().numpy(), state


class Generation:
    """The generating method of a language model; a subclass has a `_stream`."""

    def _stream(
        self,
        prompts: Sequence[Ids],
        n_tokens: int,
        sampler: Sampler,
        seeds: Sequence[np.random.SeedSequence],
    ) -> Iterator[Ids]:
        """Yield the next token of each prompt, shape (n_prompts,), so many times."""
        raise NotImplementedError

    def generate(
        self: Any,
        prompts: Any,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: Any = None,
        stream: bool = False,
    ) -> Any:
        """Continue prompts.

        Parameters
        ----------
        prompts : str or iterable of str; or token ids if ``tokenizer=None``
            One prompt, or several at once. Each needs at least one token; of a long one the last
            tokens count that the module has positions for (all of them, if it has no limit).
        max_new_tokens : int, default=100
            How many tokens to add to each prompt.
        temperature : float, default=1.0
            Below 1 bolder, above 1 wilder; 0 always takes the most likely token.
        top_k : int, optional
            Draw among so many most likely tokens.
        top_p : float, optional
            Draw among the fewest most likely tokens that hold this probability together.
        random_state : int, RandomState, Generator or None, default=None
            An integer makes the result reproducible; None takes a seed from numpy's global state,
            as in `fit`. A prompt's continuation does not depend on the prompts after it.
        stream : bool, default=False
            Return an iterator over the pieces as they are drawn; for a single prompt.

        Returns
        -------
        str or list of str
            The new text alone, without the prompt: a string for a string, otherwise a list. Token
            ids with ``tokenizer=None``: an array for a 1-D array, a table for a table, otherwise a
            list of arrays. With `stream`, an iterator of strings whose concatenation is that
            text (or of ids).

        Raises
        ------
        NotFittedError
            If the estimator was not fitted.
        ValueError
            If a prompt is empty, or a parameter has no meaning.

        Notes
        -----
        Work and memory per token do not grow with the text: the module's recurrent form is used.
        Where the text outgrows the positions that the module knows (``position_limit``), the state
        is rebuilt from half as many last tokens. The vocabulary's padding and unknown tokens are
        never drawn.
        """
        self.check_is_fitted()
        check_whole("max_new_tokens", max_new_tokens, 0)
        tokens, is_single = self._prompt_ids(prompts)
        if stream and not is_single:
            raise ValueError("stream=True takes a single prompt: call generate once for each.")
        sampler = Sampler(temperature, top_k, top_p, self._forbidden_ids())
        seed = _seed_sequence(random_state)
        steps = self._stream(tokens, max_new_tokens, sampler, seed.spawn(len(tokens)))
        if stream:
            ids = (int(drawn[0]) for drawn in steps)
            return ids if self.tokenizer is None else self.tokenizer_.decode_stream(ids)
        drawn = np.array(list(steps), np.int64).reshape(max_new_tokens, len(tokens)).T
        by_ids = self.tokenizer is None
        results = list(drawn) if by_ids else self.tokenizer_.inverse_transform(drawn)
        if is_single:
            return results[0]
        is_table = by_ids and isinstance(tokens, np.ndarray)
        return drawn if is_table else results

    def _prompt_ids(self: Any, prompts: Any) -> tuple[Sequence[Ids], bool]:
        """Return the ids of each prompt, and whether it was a single one."""
        if self.tokenizer is None:
            if not hasattr(prompts, "ndim"):
                prompts = list(prompts)  # an iterator could be read but once
            is_single = np.ndim(prompts) == 1 if hasattr(prompts, "ndim") else _is_flat(prompts)
            # Prompts may be of any length, whatever the width of the training table.
            rows = [np.asarray(prompts)] if is_single else [np.asarray(row) for row in prompts]
            tokens = self._tokenize(self._check_X(rows))
            if not is_single and getattr(prompts, "ndim", 0) == 2:
                tokens = np.stack(tokens)
        else:
            is_single = isinstance(prompts, str)
            documents = check_documents([prompts] if is_single else prompts, name="prompts")
            tokens = self._tokenize(documents)
        for index, ids in enumerate(tokens):
            if len(ids) == 0:
                raise ValueError(f"Prompt {index} is empty: give at least one token to continue.")
        return tokens, is_single

    def _forbidden_ids(self: Any) -> list[int]:
        if self.tokenizer is None:
            return []
        special = (self.tokenizer_.unknown_id_, self.tokenizer_.padding_id_)
        # A vocabulary may be padded beyond the tokenizer's, as those of published weights are.
        padded = range(self.tokenizer_.n_tokens_, self.vocab_size_)
        return [*(i for i in special if i is not None), *padded]


def _is_flat(prompts: Any) -> bool:
    return all(np.ndim(item) == 0 for item in prompts)


def _seed_sequence(random_state: Any) -> np.random.SeedSequence:
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(check_random_state(random_state).randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(int(random_state.integers(2**31 - 1)))
    if not isinstance(random_state, Integral) or random_state < 0:
        raise ValueError(
            "random_state must be None, a whole number from 0 on, a RandomState or a Generator, "
            f"got {random_state!r}."
        )
    return np.random.SeedSequence(int(random_state))
