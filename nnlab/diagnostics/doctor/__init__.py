"""This machine, and whether it computes what plain PyTorch computes."""
