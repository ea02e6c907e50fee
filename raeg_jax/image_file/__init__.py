"""Image files whose pixels come back bit for bit: reading, writing, and what they hold beside."""
