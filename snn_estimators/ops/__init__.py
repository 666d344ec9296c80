"""Numeric scans: one plain-PyTorch reference each, with fast twins behind the same function.

State goes in and comes out explicitly, so that training, streaming and tests share one definition.
"""

from snn_estimators.ops.attention import (
    AttentionOutput,
    spiking_attention,
    spiking_attention_reference,
)
from snn_estimators.ops.lif import LIFOutput, lif, lif_reference
from snn_estimators.ops.surrogate import spike, surrogate_gradient
from snn_estimators.ops.wkv import WKVOutput, WKVState, wkv, wkv_reference

__all__ = [
    "AttentionOutput",
    "LIFOutput",
    "WKVOutput",
    "WKVState",
    "lif",
    "lif_reference",
    "spike",
    "spiking_attention",
    "spiking_attention_reference",
    "surrogate_gradient",
    "wkv",
    "wkv_reference",
]
