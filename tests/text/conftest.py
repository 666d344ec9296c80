"""A pretrained tokenizer without network."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn_estimators.text import BPETokenizer

TEXT = "The cat sat on the mat. The dog, naïve as he was, saw the cat and the mat. " * 3


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a byte-level tokenizer, as transformers writes it, that adds and cuts."""
    pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    from tokenizers.processors import TemplateProcessing

    backend = BPETokenizer(vocab_size=290, special_tokens=("<pad>", "<end>")).fit([TEXT]).backend_
    backend.post_processor = TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])
    backend.enable_truncation(6)
    backend.enable_padding(length=6, pad_id=0, pad_token="<pad>")
    folder = tmp_path_factory.mktemp("pretrained")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>"
    ).save_pretrained(folder)
    return folder
