"""RAEG beside other ways to change a data set: RAE, RIT, PGD and noise, all on the same terms."""
