"""Pure functions on image arrays: no parameters, float32 in pixel units 0 to 255."""
