"""Weights: checkpoints into the shards of a model."""
