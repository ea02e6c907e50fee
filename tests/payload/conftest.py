"""Settings of property-based tests."""

import hypothesis

# How long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("raeg", deadline=None)
hypothesis.settings.load_profile("raeg")
