"""The chain rule, number by number: of formulas, of a small net, and of one neuron."""
