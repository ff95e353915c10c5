"""The world outside the deployment, as far as a caller may send a worker there."""
