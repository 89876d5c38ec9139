"""Every kind of ingredient together: the index of their tables, settings made complete, and what each looks like."""
