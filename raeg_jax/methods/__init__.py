"""All methods that change a data set's images: RAEG, RAE, RIT, PGD and noise, on the same terms."""
