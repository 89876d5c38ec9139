"""Files that survive a crash: the journal of finished runs, the files rendered from it, the manifest, the lock. No torch."""
