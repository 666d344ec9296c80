"""Fits and models on the disk: text, tensors and files, and no estimator."""
