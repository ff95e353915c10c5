"""Which pipeline, model classes and adapter serve each task, by family."""
