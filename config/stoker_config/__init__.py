"""How a process is wired: settings, the Celery app, and what both sides keep in Redis."""
