"""What recovery needs of a protected image: the payload, the key that locks it, the token."""
