"""A skorch net in line with scikit-learn: parameters, training, states; it knows no text."""
