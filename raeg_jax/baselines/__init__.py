"""Earlier reversible protection, RAE and RIT, working in both directions."""
