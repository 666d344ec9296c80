"""snn_estimators.estimators."""
