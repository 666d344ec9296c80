"""One model trained by several processes."""

from snn_estimators.distributed.data_parallel import DataParallel

__all__ = ["DataParallel"]
