"""A folder that is put on a worker's import path to give it a wrong clock."""
