"""Webhooks are delivered here: a process of its own, with neither a model nor Celery."""
