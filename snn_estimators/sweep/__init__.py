"""Sweeps: a grid, corpora and seeds, cross-validated by workers into tables that survive a kill.

A sweep plans its fits (``plan``, ``candidates``, ``halving``, ``budget``), hands them to processes
(``runner``, ``executors``; ``worker`` is what runs there), and ranks the scores as they come
(``leaderboard``, ``outputs``). Worth knowing:

* Finished fits are kept in the estimator's `memory`, that of the sweep, or ``.memory`` beside the
  tables, and the same sweep takes them over when it is run again. A kept fit takes about three
  times its weights on the disk, as `partial_fit` may continue from it; delete the folder when no
  sweep is to resume. ``fit (s)`` in a sweep's table is the time of training, also for fits that
  were taken over; in the table of a plain search it is then the time of loading.
* Ctrl-C and SIGTERM (SLURM, systemd) end a sweep with its workers; a message says how to resume.
* By default there is one process a core, or one a GPU, with as many threads as there are cores for
  it. On a cluster, the text goes to each worker once. Clusters may grow and shrink meanwhile, and a
  worker that is lost costs no more than time. If all of them are lost for a minute, the sweep ends,
  and resumes when it is run again. Keep Dask's nannies. Ray clusters with tokens want
  ``RAY_AUTH_MODE=token``.
* MLflow's runs go where ``MLFLOW_TRACKING_URI`` points, by default to ``mlflow.db`` in the working
  folder; each is logged when its fit has ended. TensorBoard's curves grow while fits run.
"""

from snn_estimators.sweep.defaults import DEFAULT_GRIDS, prepare_text, sweep_model
from snn_estimators.sweep.outputs import SweepResult, TablesNotWrittenError
from snn_estimators.sweep.sweep import Sweep, SweepInterrupted

__all__ = [
    "DEFAULT_GRIDS",
    "Sweep",
    "SweepInterrupted",
    "SweepResult",
    "TablesNotWrittenError",
    "prepare_text",
    "sweep_model",
]
