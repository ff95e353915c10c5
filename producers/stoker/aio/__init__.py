"""The asyncio twin of the client: the same calls, on the same messages, keys and scripts."""
