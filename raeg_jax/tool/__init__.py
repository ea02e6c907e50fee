"""What the command `raeg` does with files and folders; the network's part is in `codec`."""
