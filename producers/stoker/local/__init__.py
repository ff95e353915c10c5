"""Everything on one machine, with no server installed: Redis, workers, Flower, model packages."""
