"""Stand-ins that tests drive: a model without weights, and a worker that serves it."""
