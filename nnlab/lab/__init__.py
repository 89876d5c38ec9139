"""Where studies and storage meet: an experiment carried out in a directory of its own, whoever asked for it."""
