import pytest

from orchestra.model.python_requires import allows


@pytest.mark.parametrize(
    ("requires", "allowed", "refused"),
    [
        (">=3.8", ["3.8.0", "3.10.1", "4.0.0"], ["3.7.9", "2.7.18"]),
        (">= 3.8 , < 3.11", ["3.8.0", "3.10.99"], ["3.11.0"]),
        (">3.8", ["3.8.1", "3.9.0"], ["3.8.0"]),
        ("<=3.11", ["3.11.0"], ["3.11.1"]),
        ("==3.11", ["3.11.0"], ["3.11.2"]),
        ("==3.11.*", ["3.11.0", "3.11.9"], ["3.12.0", "3.1.1"]),
        ("!=3.11.*,>=3", ["3.12.0"], ["3.11.9", "2.7.1"]),
        ("~=3.8", ["3.8.0", "3.13.1"], ["4.0.0", "3.7.1"]),
        ("~=3.8.2", ["3.8.2", "3.8.9"], ["3.8.1", "3.9.0"]),
    ],
)
def test_versions_are_those_that_packages_mean(requires: str, allowed: list[str], refused: list[str]) -> None:
    assert [version for version in (*allowed, *refused) if allows(requires, version)] == allowed


@pytest.mark.parametrize(
    "requires", ["", "x", "3.8", ">=3.8,", ">=x", ">=3.*", "~=3", "=>3.8", ">=3.8 <4", ">=3.13rc1", "===3"]
)
def test_what_is_no_version_is_an_error_whatever_the_version_is(requires: str) -> None:
    for version in ("3.11.2", "2.7.1"):
        with pytest.raises(ValueError, match="version|only"):
            allows(requires, version)
