"""snn_estimators.nn."""
