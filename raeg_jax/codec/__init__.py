"""From arrays and keys to protected files and back: hiding, payload, key."""
