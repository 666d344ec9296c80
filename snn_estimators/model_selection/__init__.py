"""snn_estimators.model_selection."""
