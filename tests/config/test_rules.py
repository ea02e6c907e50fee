"""Rules of values that consist of several names; test_validate.py has those of the others."""

import pytest
from ml_collections import ConfigDict

from raeg_jax.config.rules import Each, Joined, check
from raeg_jax.errors import UserError

DEFENCES = Joined(("grey", "jpeg_50"))
TRAININGS = Joined(("grey", "jpeg_50"), first=("crops",))


@pytest.mark.parametrize(
    ("rule", "value", "accepted"),
    [
        (DEFENCES, "grey", True),
        (DEFENCES, "jpeg_50+grey+jpeg_50", True),
        (DEFENCES, "grey+", False),
        (DEFENCES, "", False),
        (DEFENCES, "grey + jpeg_50", False),
        (DEFENCES, 5, False),
        (TRAININGS, "crops", True),
        (TRAININGS, "crops+grey", True),
        (TRAININGS, "grey", False),
        (TRAININGS, "crops+crops", False),
    ],
)
def test_joined_names_are_all_of_a_registry(rule, value, accepted):
    assert rule.accepts(value) == accepted


def test_the_unknown_name_is_said():
    config = ConfigDict({"defences": ("grey", "grey+fog", "rain")})
    with pytest.raises(UserError, match=r"each one of grey, jpeg_50, or several .*no 'fog'$"):
        check(config, {"defences": Each(DEFENCES)})
    with pytest.raises(UserError, match=r"each one of crops, followed by .*; there is no 'grey'$"):
        check(config, {"defences": Each(TRAININGS)})
    with pytest.raises(UserError, match=r"defences='grey' is impossible: .* between$"):
        check(ConfigDict({"defences": "grey"}), {"defences": Each(DEFENCES)})
