"""snn_estimators.text."""
