"""Real servers and processes for the tests: Redis, workers, Flower."""
