"""Layers of many runs at once, forward and backward: one file for each kind of layer, one table of them all."""
