"""Make models: losses, sparse training, symbolic regression."""
