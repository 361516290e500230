from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.console import shown_line
from orchestra.logs import render
from orchestra.model.events import Event
from orchestra.model.redaction import (
    REDACTED,
    allowed_environment,
    has_secret_name,
    holds_secret,
    is_secret,
    redact_data,
    redact_text,
    redact_variables,
)

WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def of(size: int, alphabet: str = WORD) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=size, max_size=size + 10)


def joined(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map("".join)


UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
secrets = st.one_of(
    joined("AKIA", st.text(UPPER, min_size=16, max_size=16)),
    joined("ghp_", of(36)),
    joined("github_pat_", of(22)),
    joined("glpat-", of(20)),
    joined("sk-proj-", of(20)),
    joined("sk_live_", of(24)),
    joined("hf_", of(34)),
    joined("xoxb-", of(24)),
    joined("https://hooks.slack.com/services/T", of(20)),
    joined("AIza", of(35)),
    joined("npm_", of(36)),
    joined("pypi-", of(60)),
    joined("SG.", of(22), ".", of(43)),
    joined("eyJ", of(20), ".eyJ", of(20), ".", of(43)),
    joined("-----BEGIN RSA PRIVATE KEY-----\n", of(60), "\n-----END RSA PRIVATE KEY-----"),
    joined("postgres://me:", of(10), "@db/x"),
)
harmless = st.text(" \n,;'=()[]é", max_size=20)


@given(before=harmless, secret=secrets, after=harmless)
def test_a_secret_is_found_wherever_it_stands_and_the_rest_is_kept(
    before: str, secret: str, after: str
) -> None:
    text = before + secret + after
    redacted = redact_text(text)
    assert holds_secret(text) and not holds_secret(redacted)
    assert secret not in redacted and REDACTED in redacted
    assert redacted.startswith(before) and redacted.endswith(after)


@given(text=st.text(max_size=200) | st.lists(secrets | harmless, max_size=4).map(" ".join))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact_text(redact_text(text)) == redact_text(text)


@given(text=st.text(max_size=200))
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert holds_secret(text) or redact_text(text) == text


@given(names=st.dictionaries(st.text(WORD + "_", min_size=1, max_size=12), secrets | harmless, max_size=5))
def test_variables_keep_their_names_and_lose_their_secrets(names: dict[str, str]) -> None:
    redacted = redact_variables(names)
    assert redacted.keys() == names.keys()
    for name, value in names.items():
        assert redacted[name] == (REDACTED if is_secret(name, value) else value)


@given(variables=st.dictionaries(st.text(WORD + "_", max_size=12), secrets | harmless, max_size=5))
def test_no_secret_is_allowed_whatever_its_name(variables: dict[str, str]) -> None:
    allowed = allowed_environment({f"CUDA_{name}": value for name, value in variables.items()})
    assert not any(holds_secret(value) for value in allowed.values())


def test_a_variable_that_is_called_a_secret_is_one() -> None:
    assert redact_variables({"MINE": "x", "A": "y"}, ("MINE",)) == {"MINE": REDACTED, "A": "y"}


def test_the_password_of_an_address_goes_and_the_rest_stays() -> None:
    assert redact_text("at postgres://me:hunter2@db/x now") == f"at postgres://me:{REDACTED}@db/x now"


@pytest.mark.parametrize("text", ["Authorization: Bearer " + "a1" * 10, "authorization: basic " + "a1" * 10])
def test_what_an_http_header_carries_goes(text: str) -> None:
    assert "a1a1" not in redact_text(text)


def test_in_data_names_count_for_flags_and_variables_only() -> None:
    data = {"token": "1:2", "flags": {"api_key": "x", "lr": 0.1}, "list": ["a", "ghp_" + "a" * 36, 1]}
    assert redact_data(data) == {
        "token": "1:2",
        "flags": {"api_key": REDACTED, "lr": 0.1},
        "list": ["a", REDACTED, 1],
    }


def test_our_logs_hold_no_secrets_but_output_is_kept_as_it_is() -> None:
    secret = "ghp_" + "a" * 36
    event = Event(name="log.message", time=0, level="info", message=f"at {secret}", data={"url": secret})
    assert secret.encode() not in render(event)
    assert shown_line(event, 20) == f"INFO: [orchestra] at {REDACTED}"
    output = Event(name="run.output", time=0, level="debug", message="", data={"text": secret})
    assert secret.encode() in render(output)


@pytest.mark.parametrize("name", ["PASSWORD", "db_passwd", "CLIENT_SECRET", "API_TOKEN", "MYSQL_PWD"])
def test_a_secret_of_digits_is_one_where_its_name_leaves_no_doubt(name: str) -> None:
    assert is_secret(name, "12345678")
    assert redact_data({"flags": {name: 12345678}}) == {"flags": {name: REDACTED}}


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_KEY", "10"), ("AUTH", "1"), ("SESSION", "2"), ("PAD_TOKEN_ID", "50256"), ("USE_TOKEN", "true")],
)
def test_a_number_is_none_where_its_name_may_mean_another_thing(name: str, value: str) -> None:
    assert not is_secret(name, value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://s3cr3t@host/x now", "at https://[redacted]@host/x now"),
        ("https://a:p?w&d#@host/x", "https://a:[redacted]@host/x"),
        ("https://host/x?a=1&sig=a%2Fb&b=2", "https://host/x?a=1&sig=[redacted]&b=2"),
        ("https://host/x?X-Amz-Signature=abc#f", "https://host/x?X-Amz-Signature=[redacted]#f"),
        ("s3://b/x?access_token=abc&api_key=d", "s3://b/x?access_token=[redacted]&api_key=[redacted]"),
        ("https://host/x?design=1&keyword=2&user=me@x.org", None),
        ("https://u:redacted:0123456789ab@h/x?sig=redacted:0123456789ab", None),
        ("https://redacted:0123456789ab@h/x?token=${mine}&sig=[redacted]", None),
        ("git@host:a/b and ssh://git@host/a", None),
    ],
)
def test_the_secrets_of_an_address_go_and_the_rest_stays(text: str, shown: str | None) -> None:
    redacted = redact_text(text)
    assert redacted == (text if shown is None else shown)
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        ("-eyJ" * 40_000),
        ("eyJaaaaaaaa.bbbbbbbb-" * 4_000),
        ("a-" * 40_000),
        ("a.b://" * 10_000),
        ("?token." * 10_000),
    ],
)
def test_what_nearly_is_a_secret_all_along_a_long_line_takes_no_time(text: str) -> None:
    began = time.process_time()

    redact_text(text)

    assert time.process_time() - began < 3


def test_a_long_value_that_nearly_is_a_number_takes_no_time() -> None:
    began = time.process_time()

    assert has_secret_name("KEY", "1" * 32_000 + "x")
    assert not has_secret_name("KEY", "1" * 32_000)

    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("value", "is_number"),
    [
        (".5", True),
        ("5.", True),
        ("-1.5e-3", True),
        ("1e5", True),
        ("1.2.3", False),
        ("1e", False),
        ("0x1", False),
    ],
)
def test_numbers_are_known_in_all_their_forms(value: str, is_number: bool) -> None:
    assert has_secret_name("MAX_KEY", value) is not is_number
