"""Sparsely activated networks in torch: activations, model, phi, training, and matching for the encoder.

Nothing is imported here, so that reading ``sanstream.san`` costs no torch.
"""
