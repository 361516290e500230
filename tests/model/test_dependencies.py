from __future__ import annotations

import pytest

from orchestra.model.dependencies import masked_url, requirement_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h/x?sig=abc&a=1", "url:https://***@h/x?sig=***&a=1"),
        ("https://h/x?design=1", "url:https://h/x?design=1"),
        ("s3://key:secret@bucket/x", "s3://***@bucket/x"),
        ("fsspec:https://me@h/x?token=t", "fsspec:https://***@h/x?token=***"),
        ("file:a@b", "file:a@b"),
    ],
)
def test_a_source_is_named_without_its_secrets(text: str, shown: str) -> None:
    assert requirement_of(text).name == shown
    assert masked_url(shown) == shown
