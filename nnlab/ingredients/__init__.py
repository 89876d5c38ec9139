"""Every kind of ingredient together: the index of their tables, complete settings, and the portrait of each."""
