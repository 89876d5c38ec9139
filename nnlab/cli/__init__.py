"""The command line: options -> settings -> command -> answer -> stdout. Nothing heavy is imported until a command needs it."""
