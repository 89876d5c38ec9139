"""The signal through the layers of a network, forward and backward."""
