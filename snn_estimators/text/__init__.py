"""Text: tokenizers and cleaners (scikit-learn transformers), corpora, windows, splits."""

from snn_estimators.text._documents import check_documents
from snn_estimators.text._ids import Ids
from snn_estimators.text.base import BaseTokenizer, make_tokenizer, tokenizer_from_dict
from snn_estimators.text.bpe import BPETokenizer
from snn_estimators.text.char import CharTokenizer
from snn_estimators.text.cleaner import TextCleaner
from snn_estimators.text.corpora import available_corpora, load_corpus
from snn_estimators.text.pretrained import PretrainedTokenizer
from snn_estimators.text.spelling import spelling_bits
from snn_estimators.text.windows import IGNORED, PADDING, WindowKFold, split_windows
from snn_estimators.text.word import WordTokenizer

__all__ = [
    "IGNORED",
    "PADDING",
    "BPETokenizer",
    "BaseTokenizer",
    "CharTokenizer",
    "Ids",
    "PretrainedTokenizer",
    "TextCleaner",
    "WindowKFold",
    "WordTokenizer",
    "available_corpora",
    "check_documents",
    "load_corpus",
    "make_tokenizer",
    "spelling_bits",
    "split_windows",
    "tokenizer_from_dict",
]
