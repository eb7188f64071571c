"""The groups of commands: each calls what does the work and prints what it returns."""
