"""Tokenizers whose encoding, decoding and files are the work of the `tokenizers` library."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from snn_estimators.text._blocks import BETWEEN_WORDS, cut
from snn_estimators.text._ids import Ids
from snn_estimators.text._patterns import check_patterns
from snn_estimators.text.base import BaseTokenizer

__all__ = ["BackendTokenizer", "check_unicode", "import_tokenizers", "parse_backend"]

_MAX_BYTES = 4  # of a character in UTF-8

# What splits text before a space between two words, whatever else it does, and what leaves that
# space and its neighbours where they are.
_SPLITTERS = frozenset(
    {"BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"}
)
_NORMALIZERS = frozenset(
    {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Precompiled", "StripAccents"}
)


def import_tokenizers(user: str) -> Any:
    """Import the package `tokenizers`; if it is missing, the error names `user` as who needs it."""
    # Its thread pool does not survive a fork and competes with joblib's processes. It reads this
    # at each call; a value that is set already is kept.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return import_module("tokenizers")
    except ImportError as error:
        raise ImportError(
            f"{user} needs the package tokenizers: pip install 'snn-estimators[bpe]'."
        ) from error


def parse_backend(text: str, user: str) -> Any:
    """Return the `tokenizers.Tokenizer` that its own JSON describes, or raise ValueError."""
    library = import_tokenizers(user)
    try:
        check_patterns("tokenizers", *sorted(_patterns(json.loads(text))))
        with _without_panic():
            return library.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"This is no JSON of the tokenizers library: {error}") from error


def _patterns(content: Any) -> set[str]:
    """Return the regular expressions in the library's JSON."""
    parts = content.values() if isinstance(content, dict) else content
    if not isinstance(content, dict | list):
        return set()
    found = set().union(*map(_patterns, parts))
    own = content.get("Regex") if isinstance(content, dict) else None
    return found | {own} if isinstance(own, str) else found


@contextmanager
def _without_panic() -> Iterator[None]:
    """Turn a panic of the library, which passes every ``except Exception``, into a ValueError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the tokenizers library gave up: {error}") from error


class BackendTokenizer(BaseTokenizer):
    """Base of the tokenizers around a `tokenizers.Tokenizer`; a subclass writes `_make_backend`.

    Attributes
    ----------
    backend_ : tokenizers.Tokenizer
        The library's own object, without truncation or padding.
    vocabulary_ : list of str
        The tokens as the library writes them; byte-level ones show a space as ``Ġ``. Ids that
        have no token, which some pretrained vocabularies skip, show as ``<none:ID>``.
    """

    backend_: Any
    _bytes: list[bytes] | None  # what each token stands for, if tokens are byte sequences
    _splits_words: bool  # so that a document may be cut between them

    def _make_backend(self, documents: Sequence[str]) -> tuple[Any, int | None]:
        """Return a new `tokenizers.Tokenizer`, and the padding id."""
        raise NotImplementedError

    def _learn(self, documents: Sequence[str]) -> tuple[list[str], int | None, int | None]:
        backend, padding_id = self._make_backend(documents)
        return self._adopt(backend), _unknown_id(backend), padding_id

    def _adopt(self, backend: Any) -> list[str]:
        """Take a backend into use, and return its vocabulary."""
        backend.no_truncation()
        backend.no_padding()
        vocabulary = _vocabulary(backend)
        self.backend_ = backend
        self._bytes = _bytes_of_tokens(backend, vocabulary)
        self._splits_words = _splits_words(json.loads(backend.to_str()))
        return vocabulary

    def _encoder(self) -> Callable[[str, int], Ids]:
        backend = self.backend_

        def encode(document: str, index: int) -> Ids:
            try:
                with _without_panic():
                    encoding = backend.encode(document, add_special_tokens=False)
                return np.array(encoding.ids, np.int64)
            except Exception as error:  # the library raises nothing more special
                check_unicode(document, index)
                raise ValueError(f"Document {index} cannot be encoded: {error}") from error

        return encode

    def _blocks(self, document: str) -> Iterator[str]:
        if not self._splits_words:
            return iter([document])
        added = self.backend_.get_added_tokens_decoder().values()
        return cut(document, BETWEEN_WORDS, never_within=[token.content for token in added])

    def _texts(self, document: str) -> list[str]:
        with _without_panic():
            encoding = self.backend_.encode(document, add_special_tokens=False)
        return [document[start:end] for start, end in encoding.offsets]

    def _pieces(self, ids: Iterable[int]) -> Iterator[str]:
        if self._bytes is None:
            return _pieces_in_context(ids, self._decode)
        return _pieces_of_bytes(ids, self._bytes)

    def _decode(self, ids: list[int]) -> str:
        with _without_panic():
            text: str = self.backend_.decode(ids, skip_special_tokens=False)
        return text

    def _content(self) -> dict[str, Any]:
        return {"tokenizer": json.loads(self.backend_.to_str())}

    def _read_content(self, d: Mapping[str, Any]) -> list[str]:
        content = json.dumps(d.get("tokenizer"))
        return self._adopt(parse_backend(content, type(self).__name__))


def check_unicode(document: str, index: int) -> None:
    """Raise ValueError for half characters (lone surrogates), which UTF-8 cannot express."""
    start = 0
    for block in cut(document):
        try:
            block.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Document {index} has half a character (U+{ord(block[error.start]):04X}) at "
                f"position {start + error.start}, which is no text: remove it, "
                "document.encode(errors='replace').decode()."
            ) from error
        start += len(block)


def _splits_words(description: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer, in its own JSON, takes two words apart as it does together."""
    splitters = _flat(description.get("pre_tokenizer"), "pretokenizers")
    normalizers = _flat(description.get("normalizer"), "normalizers")
    if not splitters or splitters[0]["type"] not in _SPLITTERS:
        return False
    is_split = splitters[0].get("use_regex", True) and splitters[0].get("split", True)
    return is_split and all(one["type"] in _NORMALIZERS for one in normalizers)


def _flat(part: Mapping[str, Any] | None, members: str) -> list[Mapping[str, Any]]:
    """Return a part of a tokenizer as the sequence that it is."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [one for member in part[members] for one in _flat(member, members)]


def _vocabulary(backend: Any) -> list[str]:
    """Return the tokens by id."""
    id_of = backend.get_vocab(with_added_tokens=True)
    size = max(id_of.values(), default=-1) + 1
    if size > 2 * len(id_of):  # a damaged file must not fill the memory
        raise ValueError(
            f"The {len(id_of)} tokens of the tokenizer have ids up to {size - 1}: they must be "
            "(nearly) without gaps."
        )
    vocabulary = [f"<none:{i}>" for i in range(size)]
    for token, i in id_of.items():
        vocabulary[i] = token
    return vocabulary


def _unknown_id(backend: Any) -> int | None:
    """Return the id that the backend gives to what it does not know, if it has one."""
    model = json.loads(backend.to_str())["model"]
    if "unk_id" in model:  # of a unigram model
        return model["unk_id"]
    token = model.get("unk_token")
    return None if token is None else backend.token_to_id(token)


# Decoding. A character may be spread over several tokens, and a token's text may depend on the one
# before. Both functions yield a piece a token, and decode a whole text just as they stream it.


def _pieces_of_bytes(ids: Iterable[int], bytes_of: list[bytes]) -> Iterator[str]:
    """Decode tokens that are byte sequences; what is no UTF-8 becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        yield decoder.decode(bytes_of[token])
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def _pieces_in_context(ids: Iterable[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Decode each token after the one before it, as what it adds to that one's text."""
    shown: list[int] = []  # the tokens of the piece before
    held: list[int] = []  # tokens that have not completed a character
    piece = ""
    for token in ids:
        held.append(token)
        before, both = decode(shown), decode(shown + held)
        piece = both.removeprefix(before) if both.startswith(before) else decode(held)
        if piece.endswith("\ufffd") and len(held) < _MAX_BYTES:
            yield ""
        else:
            yield piece
            shown, held = held, []
    if held:
        yield piece


def _bytes_of_tokens(backend: Any, vocabulary: list[str]) -> list[bytes] | None:
    """Return what byte-level tokens stand for; None if the backend is not byte-level."""
    if type(backend.decoder).__name__ != "ByteLevel":
        return None
    added = {i: token.content for i, token in backend.get_added_tokens_decoder().items()}
    byte_of = _byte_symbols()
    bytes_of = []
    for i, token in enumerate(vocabulary):
        is_text = i in added or not byte_of.keys() >= set(token)
        bytes_of.append(token.encode() if is_text else bytes(map(byte_of.__getitem__, token)))
    return bytes_of


def _byte_symbols() -> dict[str, int]:
    """Return the byte that each symbol of a byte-level vocabulary stands for.

    Bytes that are printable in Latin-1 stand for themselves, the others in their order are the
    characters from U+0100 on (Radford et al., "Language Models are Unsupervised Multitask
    Learners", 2019).
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(byte): byte for byte in printable}
    return symbols | {chr(256 + i): byte for i, byte in enumerate(others)}
