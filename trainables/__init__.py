"""What one trial is: the paper's models, losses and training loop. Knows nothing of studies."""
