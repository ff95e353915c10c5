"""From a typed job to rows of a forward pass and back: one adapter for each kind of task."""
