"""One question a file: settings -> plan -> runs -> records -> an answer in rows. No Typer, no Rich, no print."""
