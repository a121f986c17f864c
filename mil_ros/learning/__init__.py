"""Meta-learning in torch: network, inner step, trainer, export."""
