"""Facts about this machine, and a check that it computes what plain PyTorch computes."""
