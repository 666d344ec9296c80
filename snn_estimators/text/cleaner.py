"""Text reduced to a small alphabet, the same way each time."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from sklearn.utils._param_validation import StrOptions

from snn_estimators.text._blocks import cut
from snn_estimators.text._documents import TextTransformer, check_documents

__all__ = ["TextCleaner"]

# Decimal numbers, lone capitals and initials keep their dots as they are; any other mark of
# punctuation is followed by exactly one space. (To look for the first characters alone is fast.)
_PUNCTUATION = re.compile(
    r"(?=[\dA-Z.,;:!?)])(?:(\d+\.\d+|\b[A-Z](?:\.[A-Z])*\b\.?)|([.,;:!?)])\s*)"
)
_WHITE_SPACE = re.compile(r"[^\S ]\s*| \s+")  # a single space is what it is to become

_BETWEEN_LETTERS = re.compile("(?<=[a-z])(?= [a-z])")
_LETTERS = " ".join(string.ascii_lowercase)

_OFF: dict[str, Any] = {
    "collapse_spaces": False,
    "replacements": {},
    "keep": None,
    "filler": "",
    "space_punctuation": False,
    "final_replacements": {},
    "lowercase": "never",
}
_PRESETS: dict[str | None, dict[str, Any]] = {
    None: _OFF,
    "spikedecoder": {
        "collapse_spaces": True,
        "replacements": {"!": ".", "?": ".", ";": " ", "--": " "},
        "keep": "a-zA-Z. '",
        "filler": "",
        "space_punctuation": True,
        "final_replacements": {". . .": "..."},
        "lowercase": "last",
    },
    "spikedecoder-words": {
        "collapse_spaces": True,
        "replacements": {"!": ".", "?": ".", ";": ""},
        "keep": "a-zA-Z. '",
        "filler": " ",
        "space_punctuation": True,
        "final_replacements": {".": " .", "''": "'"},
        "lowercase": "first",
    },
}


class TextCleaner(TextTransformer):
    r"""Clean documents: collapse white space, replace and drop characters, space punctuation.

    A preset names a whole recipe; every other parameter overrides one step of it, and None leaves
    that step to the preset. The steps are taken in the order of the parameters, except for
    `lowercase`, which is done first or last.

    A long document is cleaned in blocks, with the same result, if the recipe leaves letters from a
    to z and single spaces as they are, and no string to replace holds such a letter. Otherwise it
    is cleaned as a whole, which takes several times its size in memory.

    Parameters
    ----------
    preset : {"spikedecoder", "spikedecoder-words"} or None, default="spikedecoder"
        "spikedecoder" leaves lower-case letters, dots, apostrophes and spaces: the alphabet of
        ``CharTokenizer("spikedecoder")`` without its padding symbol. "spikedecoder-words" sets
        each dot apart, so that splitting on white space gives words. None does nothing that the
        other parameters do not ask for.
    collapse_spaces : bool or None, default=None
        Whether every run of white space becomes one space, at the start and once more at the end.
        White space at the ends of a document becomes a space too; it is not stripped.
    replacements : mapping of str to str, or None, default=None
        Strings to replace, one after the other.
    keep : str or None, default=None
        The characters to keep, as the inside of a regular expression's character class, such as
        ``"a-z "``; ``r"\s\S"`` keeps all.
    filler : str or None, default=None
        What takes the place of a run of characters that are not kept.
    space_punctuation : bool or None, default=None
        Whether each of ``.,;:!?)`` gets exactly one space after it. Decimal numbers, lone capital
        letters and initials (``3.14``, ``A.``, ``U.S.``) stay as they are.
    final_replacements : mapping of str to str, or None, default=None
        Strings to replace after that.
    lowercase : {"first", "last", "never"} or None, default=None
        When to turn the text into lower case; before everything else, initials are not recognised.

    Examples
    --------
    >>> from snn_estimators.text import TextCleaner
    >>> TextCleaner().transform(["Well, Prince--so\n(Mr. A. B.) 'tis  true?Yes!"])
    ["well prince so mr. a. b. 'tis true. yes. "]
    >>> TextCleaner("spikedecoder-words").transform(["Well, is it?Yes."])
    ['well is it . yes . ']
    >>> TextCleaner(None, lowercase="last", replacements={"&": "and"}).transform(["You & I"])
    ['you and i']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "preset": [StrOptions({name for name in _PRESETS if name is not None}), None],
        "collapse_spaces": ["boolean", None],
        "replacements": [Mapping, None],
        "keep": [str, None],
        "filler": [str, None],
        "space_punctuation": ["boolean", None],
        "final_replacements": [Mapping, None],
        "lowercase": [StrOptions({"first", "last", "never"}), None],
    }

    def __init__(
        self,
        preset: str | None = "spikedecoder",
        *,
        collapse_spaces: bool | None = None,
        replacements: Mapping[str, str] | None = None,
        keep: str | None = None,
        filler: str | None = None,
        space_punctuation: bool | None = None,
        final_replacements: Mapping[str, str] | None = None,
        lowercase: str | None = None,
    ) -> None:
        self.preset = preset
        self.collapse_spaces = collapse_spaces
        self.replacements = replacements
        self.keep = keep
        self.filler = filler
        self.space_punctuation = space_punctuation
        self.final_replacements = final_replacements
        self.lowercase = lowercase

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def fit(self, X: Iterable[str], y: Any = None) -> Self:
        """Check the parameters and the documents; there is nothing to learn.

        Parameters
        ----------
        X : iterable of str
            The documents.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X is not a collection of strings that hold text, or a parameter has no meaning.
        """
        check_documents(X)
        self._steps()
        return self

    def transform(self, X: Iterable[str]) -> list[str]:
        """Clean documents.

        Parameters
        ----------
        X : iterable of str
            The documents.

        Returns
        -------
        list of str
            As many; one of which nothing is left is an empty string.

        Raises
        ------
        TypeError, ValueError
            If X is not a collection of strings, or a parameter has no meaning.
        """
        documents = check_documents(X, allow_empty=True)
        steps = self._steps()
        if not self._leaves_letters(steps):
            return [_apply(steps, document) for document in documents]
        blocks = (cut(document, _BETWEEN_LETTERS) for document in documents)
        return ["".join(_apply(steps, block) for block in its_blocks) for its_blocks in blocks]

    def _leaves_letters(self, steps: Iterable[Callable[[str], str]]) -> bool:
        """Return whether no step changes letters, or the space between two, or looks across."""
        recipe = self._recipe()
        replaced = "".join([*recipe["replacements"], *recipe["final_replacements"]])
        is_across = any(letter in replaced for letter in string.ascii_lowercase)
        return not is_across and all(step(_LETTERS) == _LETTERS for step in steps)

    def _recipe(self) -> dict[str, Any]:
        """Return the preset's steps with what overrides them."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in _PRESETS[self.preset].items()
        }

    def _steps(self) -> list[Callable[[str], str]]:
        """Return the functions to apply, one after the other."""
        self._validate_params()
        recipe = self._recipe()
        steps: list[Callable[[str], str]] = []
        if recipe["lowercase"] == "first":
            steps.append(str.lower)
        if recipe["collapse_spaces"]:
            steps.append(_collapse_spaces)
        steps.append(_replacer("replacements", recipe["replacements"]))
        if recipe["keep"] is not None:
            steps.append(_keeper(recipe["keep"], recipe["filler"]))
        if recipe["space_punctuation"]:
            steps.append(_space_punctuation)
        steps.append(_replacer("final_replacements", recipe["final_replacements"]))
        if recipe["lowercase"] == "last":
            steps.append(str.lower)
        if recipe["collapse_spaces"]:
            steps.append(_collapse_spaces)
        return steps


def _apply(steps: Iterable[Callable[[str], str]], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _collapse_spaces(text: str) -> str:
    return _WHITE_SPACE.sub(" ", text)


def _replacer(name: str, replacements: Mapping[str, str]) -> Callable[[str], str]:
    for old, new in replacements.items():
        if not isinstance(old, str) or not isinstance(new, str) or not old:
            raise ValueError(
                f"{name} must map strings that are not empty to strings, got {old!r}: {new!r}."
            )

    def replace(text: str) -> str:
        for old, new in replacements.items():
            text = text.replace(old, new)
        return text

    return replace


def _keeper(keep: str, filler: str) -> Callable[[str], str]:
    try:
        dropped = re.compile(f"[^{keep}]+")
    except re.error as error:
        raise ValueError(
            f"keep={keep!r} is not the inside of a regular expression's character class: {error}."
        ) from error
    return lambda text: dropped.sub(lambda _: filler, text)


def _space_punctuation(text: str) -> str:
    return _PUNCTUATION.sub(lambda m: f"{m[2]} " if m[2] else m[1], text)
