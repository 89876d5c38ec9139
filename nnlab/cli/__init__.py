"""The command line: options -> settings -> study -> files -> a table. Nothing heavy is imported until a command needs it."""
