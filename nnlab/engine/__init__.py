"""Many runs as one program: plan (what is batched with what) -> population (parameters) -> fit (the loop)."""
