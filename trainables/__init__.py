"""One trial: the paper's models, losses and training loop. Does not depend on studies."""
