"""Fits and models on the disk: files, tensors and text, and no estimator.

Seven concepts, each in a module or two:

* the state of a training as one file (`training_state`);
* the files of a model (`model_files`), whose `weights` bound what is built, and what is saved
  under names (`names`, `catalog`);
* the `Checkpointer`, which saves and restores while a net trains (`checkpointing`);
* its store: the checkpoints of a named fit (`named_run`, `run_folder`, `step_log`), or a cache of
  fits (`fit_cache`);
* its role: the process trains alone (`checkpointing`), or with others, as
  `snn_estimators.distributed` has it;
* the key of a fit (`cache_key`), made of canonical values and code (`stable_hash`, `code_hash`,
  `hashing`); what people read of parameters is in `description`;
* files and folders that are replaced whole (`atomic_folder`), and locks (`file_lock`).
"""
