"""The pipelines of tasks that transformers 5 dropped, with the results of version 4.57."""
