"""snn_estimators.ops."""
