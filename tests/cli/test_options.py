"""Parameters of the library in errors become flags that the command line takes."""

import pytest

from medley.cli.options import with_flags


@pytest.mark.parametrize(
    ("parameter", "flag"),
    [
        ("overwrite=True", "--overwrite"),
        ("user_column=...", "--user-column"),
        ("rating_threshold=4", "--rating-threshold 4"),
        ('separator=";"', '--separator ";"'),
        ("header=False", "--header none"),
        ('header=("user_id", "item_id", ...)', "--header user_id,item_id,..."),
        ("quote=None", "--quote ''"),
        ("features={'visual': 'a.npy'}", "--features visual=a.npy"),
        ("id_rule='strip-zeros'", "--id-rule 'strip-zeros'"),
        ("text=...", "--text"),
        ("feature_scale=standard", "feature_scale=standard"),  # an option of a model, for --set
    ],
)
def test_a_remedy_names_flags(parameter, flag):
    assert with_flags(f"it is wrong. Remedy: pass {parameter}, then again") == (
        f"it is wrong. Remedy: pass {flag}, then again"
    )


def test_what_was_found_is_not_rewritten():
    assert with_flags("expected seed=0, got seed=1. Remedy: x").startswith("expected seed=0, got seed=1.")
