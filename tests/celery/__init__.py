"""What Celery documents of itself, asked of workers on Stoker's transport and on kombu's."""
