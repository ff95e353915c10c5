"""The command line: `stoker …`."""
