"""The command line."""

from snn_estimators.cli.commands import app, main

__all__ = ["app", "main"]
