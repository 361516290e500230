"""What a file is, as its name and its first bytes tell: text, a secret, or what this product has written."""

from __future__ import annotations

import codecs

_SECRET_NAMES = frozenset((".env", ".envrc", ".git-credentials", ".netrc", "_netrc", ".pgpass", ".pypirc"))
_SECRET_BEGINNINGS = (".env.", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa")
_SECRET_ENDINGS = (".key", ".p12", ".pem", ".pfx")
_NO_SECRETS = (".example", ".pub", ".sample", ".template")
_HEAD = 8192
_CONTROL_CHARACTERS = bytes(set(range(32)) - set(b"\b\t\n\f\r\x1b")) + b"\x7f"
_PAGE = b'<meta name="generator" content="Orchestra">'
_PAGE_HEAD = 256
_CRATE = b"exported by Orchestra "
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_secret_name(name: str) -> bool:
    """Whether a file of this name is likely to hold a secret."""
    if name.endswith(_NO_SECRETS):
        return False
    return name in _SECRET_NAMES or name.startswith(_SECRET_BEGINNINGS) or name.endswith(_SECRET_ENDINGS)


def is_text(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is text: UTF-8, UTF-16 with its mark, or one byte a letter."""
    if head.startswith(_MARKS):
        return True
    if b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # Latin-1 and its like: nearly all is printable, and ASCII prevails.
        odd = len(head) - len(head.translate(None, _CONTROL_CHARACTERS))
        high = len(head) - len(head.translate(None, bytes(range(128, 256))))
        return odd == 0 and high * 10 < len(head) * 3
    return len(head) - len(head.translate(None, _CONTROL_CHARACTERS)) <= len(head) // 10


def is_private_key(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is one half of a key pair: the one that is kept."""
    first = head.lstrip().split(b"\n", 1)[0]
    return first.startswith(b"-----BEGIN ") and b"PRIVATE KEY" in first


def is_our_page(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a page that ``plot --html`` has written."""
    return head.startswith(b"<!DOCTYPE html>") and _PAGE in head[:_PAGE_HEAD]


def is_our_crate(head: bytes) -> bool:
    """Whether the metadata of an RO-Crate, which begin with ``head``, are those of runs that were exported."""
    return _CRATE in head


def head_of(path: str) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: it can't be read.
    """
    with open(path, "rb", buffering=0) as file:
        return file.read(_HEAD)
