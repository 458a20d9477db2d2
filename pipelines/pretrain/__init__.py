"""Training of the shipped banks: python -m pipelines.pretrain."""
