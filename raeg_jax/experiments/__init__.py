"""What the protection is worth: experiments that could refute it, and their report."""
