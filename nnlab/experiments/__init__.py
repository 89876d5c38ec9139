"""What all commands that train share: plan -> training -> journal -> conclusion -> files."""
