"""Settings: the command line that gives them, the rules that they follow, their file in a run."""
