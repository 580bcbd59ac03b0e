"""Two extensions of neuronkit: `acme_metrics.timing` writes a line per call, `acme_metrics.prometheus` counts."""
