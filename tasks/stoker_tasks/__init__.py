"""What can be asked and what comes back: typed jobs, results and errors, shared by both sides."""
