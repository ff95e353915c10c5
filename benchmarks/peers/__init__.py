"""Small complete services on other people's software, each at the setting it is told.

They run in environments of their own, in which Stoker is not installed, and import nothing of it.
"""
