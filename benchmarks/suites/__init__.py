"""What is measured: one module for each suite, with a function `run` that gives its rows."""
