"""N-grams with Kneser-Ney smoothing: what every language model has to beat."""
