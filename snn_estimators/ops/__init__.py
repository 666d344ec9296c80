"""Numeric scans: one plain-PyTorch reference each, with fast twins behind the same function.

All have one shape, ``op(inputs..., parameters, state=None, *, backend="auto")``, and return their
output beside a ``state``, which goes in and comes out explicitly, so that training, streaming and
tests share one definition; `graded` has no memory, and no state. Parameters are a NamedTuple an
operator; `backend` chooses the twin.
"""

from snn_estimators.ops.attention import (
    AttentionOutput,
    AttentionParameters,
    spiking_attention,
    spiking_attention_reference,
)
from snn_estimators.ops.graded import GradedParameters, graded, graded_reference
from snn_estimators.ops.lif import LIFOutput, LIFParameters, lif, lif_reference
from snn_estimators.ops.surrogate import (
    SURROGATES,
    Surrogate,
    register_surrogate,
    spike,
    surrogate_gradient,
)
from snn_estimators.ops.wkv import WKVOutput, WKVParameters, WKVState, wkv, wkv_reference

__all__ = [
    "SURROGATES",
    "AttentionOutput",
    "AttentionParameters",
    "GradedParameters",
    "LIFOutput",
    "LIFParameters",
    "Surrogate",
    "WKVOutput",
    "WKVParameters",
    "WKVState",
    "graded",
    "graded_reference",
    "lif",
    "lif_reference",
    "register_surrogate",
    "spike",
    "spiking_attention",
    "spiking_attention_reference",
    "surrogate_gradient",
    "wkv",
    "wkv_reference",
]
