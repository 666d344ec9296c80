"""Text: tokenizers and cleaners (scikit-learn transformers), corpora, windows, splits."""

from snn_estimators.text._documents import check_documents
from snn_estimators.text.char import CharTokenizer
from snn_estimators.text.tokenizers import BaseTokenizer, make_tokenizer, tokenizer_from_dict
from snn_estimators.text.windows import PADDING
from snn_estimators.text.word import WordTokenizer

__all__ = [
    "PADDING",
    "BaseTokenizer",
    "CharTokenizer",
    "WordTokenizer",
    "check_documents",
    "make_tokenizer",
    "tokenizer_from_dict",
]
