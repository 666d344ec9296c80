"""One token a frequent sequence of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval

from snn_estimators.text._blocks import AT_WHITE_SPACE, cut, distinct_characters
from snn_estimators.text._huggingface import BackendTokenizer, check_unicode, import_tokenizers

__all__ = ["BPETokenizer"]


class BPETokenizer(BackendTokenizer):
    r"""Byte-pair encoding: parts of words as tokens, from single bytes to frequent words.

    The vocabulary starts with the 256 bytes of UTF-8 and grows by joining the most frequent pair
    of neighbouring tokens into a new one [1]_, within words (a word begins with the space before
    it, as in GPT-2 [2]_). Nothing is unknown to it, and decoding gives any text back exactly.
    It is trained by the package ``tokenizers``: ``pip install 'snn-estimators[bpe]'``.

    Parameters
    ----------
    vocab_size : int, default=1000
        The largest size of the vocabulary: at least the 256 bytes and the special tokens. It stays
        smaller if no pair is frequent enough any more.
    min_frequency : int, default=2
        How often a pair must occur in the training text to be joined.
    max_token_length : int or None, default=None
        The longest token, in bytes; None for no limit.
    special_tokens : sequence of str, default=()
        Texts that are always one token each, such as ``"<|endoftext|>"``, in ASCII. They get the
        first ids. Where a document holds one, it is encoded as such.

    Attributes
    ----------
    vocabulary_ : list of str
        The tokens as the library writes them, a character a byte: a space is ``Ġ``, a line feed
        ``Ċ``. The index is the token's id.
    n_tokens_ : int
        Size of the vocabulary.
    characters_ : str
        The characters of the training text, sorted: the 256 bytes do not show them.
    unknown_id_, padding_id_ : None
        There are no such tokens.
    backend_ : tokenizers.Tokenizer
        The library's own object.

    Notes
    -----
    Training is deterministic. The library is kept to one thread, since its threads do not survive
    a fork and compete with joblib's processes; set the environment variable
    ``TOKENIZERS_PARALLELISM=true`` to have them.

    References
    ----------
    .. [1] Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword
       Units", ACL 2016.
    .. [2] Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

    Examples
    --------
    >>> from snn_estimators.text import BPETokenizer
    >>> tokenizer = BPETokenizer(vocab_size=259).fit(["the cat, the dog, the end"])
    >>> tokenizer.vocabulary_[256:]
    ['he', 'the', 'Ġthe']
    >>> tokenizer.characters_
    ' ,acdeghnot'
    >>> ids = tokenizer.transform(["the naïve cat"])
    >>> len(ids[0])
    12
    >>> tokenizer.inverse_transform(ids)
    ['the naïve cat']
    """

    type_name: ClassVar[str] = "bpe"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "vocab_size": [Interval(Integral, 1, None, closed="left")],
        "min_frequency": [Interval(Integral, 1, None, closed="left")],
        "max_token_length": [Interval(Integral, 1, None, closed="left"), None],
        "special_tokens": [list, tuple],
    }

    def __init__(
        self,
        vocab_size: int = 1000,
        min_frequency: int = 2,
        *,
        max_token_length: int | None = None,
        special_tokens: Sequence[str] = (),
    ) -> None:
        self.vocab_size = vocab_size
        self.min_frequency = min_frequency
        self.max_token_length = max_token_length
        self.special_tokens = special_tokens

    def _make_backend(self, documents: Sequence[str]) -> tuple[Any, None]:
        library = import_tokenizers("BPETokenizer")
        self._check_special_tokens()
        alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
        least = len({*alphabet, *self.special_tokens})
        if self.vocab_size < least:
            raise ValueError(
                f"vocab_size={self.vocab_size} is too small: the 256 bytes and "
                f"{len(self.special_tokens)} special tokens need at least {least}."
            )
        for index, document in enumerate(documents):
            check_unicode(document, index)
        backend = library.Tokenizer(library.models.BPE())
        backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = library.decoders.ByteLevel()
        limit = self.max_token_length
        trainer = library.trainers.BpeTrainer(
            vocab_size=int(self.vocab_size),
            min_frequency=int(self.min_frequency),
            max_token_length=None if limit is None else int(limit),
            special_tokens=list(self.special_tokens),
            initial_alphabet=alphabet,
            show_progress=False,
        )
        blocks = (block for document in documents for block in cut(document, AT_WHITE_SPACE))
        backend.train_from_iterator(blocks, trainer)
        self.characters_ = "".join(distinct_characters(documents))
        return backend, None

    def _blocks(self, document: str) -> Iterator[str]:
        with_space = [token for token in self.special_tokens if len(token.split()) != 1]
        return cut(document, AT_WHITE_SPACE, never_within=with_space)

    def _content(self) -> dict[str, Any]:
        return super()._content() | {"characters": self.characters_}

    def _read_content(self, d: Mapping[str, Any]) -> list[str]:
        characters = d.get("characters")
        if not isinstance(characters, str):
            raise ValueError(f"'characters' must be those of the text, got {characters!r}.")
        self.characters_ = characters
        return super()._read_content(d)

    def _check_special_tokens(self) -> None:
        """Only ASCII: in a byte-level vocabulary, other characters stand for single bytes."""
        tokens = self.special_tokens
        is_fine = all(isinstance(t, str) and t and t.isascii() for t in tokens)
        if not is_fine or len(set(tokens)) < len(tokens):
            raise ValueError(
                "special_tokens must be different strings of ASCII characters, none of them "
                f"empty, got {tokens!r}."
            )
