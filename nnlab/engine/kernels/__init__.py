"""Layers of many runs at once, forward and backward: a file a kind of layer."""
