"""Classifiers of documents, from scratch or from a pretrained language model."""
