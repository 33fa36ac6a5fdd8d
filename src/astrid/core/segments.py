"""The segments of a resource: how bytes are spelled, which ones may stand there, and which are too odd to match.  Pure.

Never: normalises.  A second spelling is refused; a Unicode normal form is computed only to refuse what it would
change, because normalising *after* parsing is what turns a full-width solidus into ``/`` and a two-dot leader into
``..``.

Rules:
  Printable ASCII stands for itself, every other byte and a literal ``%``, ``*`` or ``/`` is ``%XX`` in upper case:
  one value, one spelling.
  The empty argument of a command is spelled ``%%``; no other segment is empty.
  What ``check_segments`` accepts is the *universe* of a scheme; ``patterns`` proves its inclusions over exactly that
  set.

Source: protocol N0; architecture 6; threat 37.
"""

from __future__ import annotations

import re
import unicodedata

from astrid.core.hosts import Authority, parse_authority, parse_port
from astrid.errors import PatternError

SCHEMES = frozenset(("file", "exec", "net", "mcp", "tool", "model", "plugin", "rpc"))
MAX_TEXT_BYTES = 16 * 1024  # the longest path Linux resolves, every byte escaped, still has a name
MAX_SEGMENTS = 256

PLAIN_TEXT_BYTES = 512  # no more than ``MAX_SEGMENTS`` fit into it

_EMPTY = "%%"
_PLAIN_SCHEMES = SCHEMES - {"exec", "net"}
_NO_NAMES = frozenset((b"", b".", b".."))
_PRINTABLE = re.compile(r"[ -~]*\Z")
_ESCAPES = re.compile(r"%(..)", re.DOTALL)
_HEX_PAIR = re.compile(r"[0-9A-F]{2}\Z")
_NEEDS_NO_ESCAPE = re.compile(rb"[ -$&-)+-.0-~]+\Z")
_PLAIN = re.compile(rb"[ -~\t\n]*\Z")
_SPELLINGS = tuple(chr(byte) if _NEEDS_NO_ESCAPE.match(bytes((byte,))) else f"%{byte:02X}" for byte in range(256))

# Controls (ESC, CR, DEL), format characters (bidi, zero-width, tags), private use, unassigned, line and paragraph
# separators. Unassigned, because another Unicode version may give them a normal form, and a decision must replay the
# same everywhere.
_ODD_CATEGORIES = frozenset(("Cc", "Cf", "Co", "Cn", "Zl", "Zp"))


def escape(value: bytes) -> str:
    """The one spelling of a segment that holds ``value``."""
    if _NEEDS_NO_ESCAPE.match(value):
        return value.decode("ascii")
    return "".join(map(_SPELLINGS.__getitem__, value)) or _EMPTY


def unescape(raw: str) -> bytes:
    """The bytes that ``raw``, printable ASCII, spells; the empty text spells no bytes (a pattern's star has such
    neighbours).

    Raises:
        PatternError: not the one spelling of any bytes.
    """
    value = _ESCAPES.sub(_unescape_one, raw).encode("latin-1")
    if raw and escape(value) != raw:
        raise PatternError(
            "pattern.spelling",
            f"`{raw[:80]}` is not the one spelling of its bytes",
            advice=f"write `{escape(value)[:80]}`",
        )
    return value


def _unescape_one(match: re.Match[str]) -> str:
    if _HEX_PAIR.match(match[1]) is None:
        raise PatternError(
            "pattern.escape", f"`{match[0]}` is not an escape", advice="write %XX with upper-case hex digits"
        )
    return chr(int(match[1], 16))


def unescape_segment(raw: str) -> bytes:
    """The bytes of a whole segment.

    Raises:
        PatternError: empty, or not the one spelling of any bytes.
    """
    if raw == _EMPTY:
        return b""
    if not raw:
        raise PatternError(
            "pattern.empty-segment", "a segment is empty", advice="an empty argument of a command is spelled %%"
        )
    return unescape(raw)


def split_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Scheme and raw segments of a resource or a pattern; nothing after ``://`` means no segments.

    Raises:
        PatternError: too long, not printable ASCII, no or an unknown scheme, too many segments.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise PatternError(
            "pattern.too-long",
            f"a resource is at most {MAX_TEXT_BYTES} bytes, not {len(text)}",
            advice="write it shorter",
        )
    if _PRINTABLE.match(text) is None:
        raise PatternError(
            "pattern.not-ascii", f"`{text[:80]!r}` holds more than printable ASCII", advice="escape each byte as %XX"
        )
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise PatternError(
            "pattern.scheme",
            f"`{text[:80]}` does not start with a known scheme",
            advice="start with file://, exec://, net://, mcp://, tool://, model://, plugin:// or rpc://",
        )
    raws = tuple(rest.split("/")) if rest else ()
    if len(raws) > MAX_SEGMENTS:
        raise PatternError(
            "pattern.too-many-segments",
            f"a resource has at most {MAX_SEGMENTS} segments, not {len(raws)}",
            advice="write it shorter",
        )
    return scheme, raws


def plain_segments(text: str) -> tuple[str, tuple[bytes, ...]] | None:
    """Scheme and segments of the common case, in one go: a short text without star and escape, of a scheme whose
    segments are mere names.  ``None`` of every other, whatever is wrong with it, for it takes a closer look.

    INVARIANT: what is answered here, ``split_text``, ``unescape_segment``, ``check_segments`` and ``is_suspicious``
    answer too.
    """
    if len(text) > PLAIN_TEXT_BYTES or "%" in text or "*" in text or not (text.isascii() and text.isprintable()):
        return None
    scheme, _, rest = text.partition("://")
    segments = tuple(rest.encode("ascii").split(b"/"))
    return (scheme, segments) if scheme in _PLAIN_SCHEMES and _NO_NAMES.isdisjoint(segments) else None


def join_text(scheme: str, segments: tuple[bytes, ...]) -> str:
    """The one text of ``segments``: what ``split_text`` and ``unescape_segment`` take apart."""
    return f"{scheme}://{'/'.join(map(escape, segments))}"


def check_segments(scheme: str, segments: tuple[bytes, ...]) -> None:
    """Refuse what names nothing in ``scheme``.

    Any *prefix* of a name is in the universe too (``file://`` is the root folder): otherwise ``**`` and ``*/**``
    could mean the same.

    Raises:
        PatternError: NUL; ``.`` or ``..``; an empty segment; a program that is no absolute path; a host that is none.
    """
    for position, segment in enumerate(segments):
        if b"\0" in segment:
            raise PatternError("pattern.nul", "a segment holds a NUL byte", advice="remove it")
        if scheme == "exec" and position > 0:
            continue  # an argument is opaque bytes: `git add .` walks no path of ours
        if not segment:
            raise PatternError("pattern.empty-segment", "only an argument of a command may be empty")
        if segment in (b".", b".."):
            raise PatternError("pattern.dots", f"`{segment.decode()}` is not a name", advice="resolve the path first")
        if scheme == "file" and b"/" in segment:
            raise PatternError(
                "pattern.slash",
                f"`{escape(segment)[:80]}` hides a `/` inside one segment",
                advice="give each folder a segment",
            )
    if scheme == "exec" and segments:
        absolute_segments(segments[0])
    if scheme == "net" and segments:
        _check_endpoint(segments)


def absolute_segments(path: bytes) -> tuple[bytes, ...]:
    """The components of an absolute, resolved path; ``/`` has none.

    Raises:
        PatternError: relative, or with an empty, ``.`` or ``..`` component, or a trailing slash.
    """
    if not path.startswith(b"/"):
        raise PatternError(
            "pattern.relative", f"`{escape(path)[:80]}` is not an absolute path", advice="resolve the path first"
        )
    parts = tuple(path[1:].split(b"/")) if path != b"/" else ()
    if any(part in (b"", b".", b"..") for part in parts):
        raise PatternError(
            "pattern.dots", f"`{escape(path)[:80]}` is not a resolved path", advice="resolve the path first"
        )
    return parts


def _check_endpoint(segments: tuple[bytes, ...]) -> None:
    try:
        port, *labels = (segment.decode("ascii") for segment in segments)
    except UnicodeDecodeError as error:
        raise PatternError(
            "pattern.host", "a host or port holds more than ASCII", advice="write IDN as xn-- labels"
        ) from error
    parse_port(port)
    # SAFETY: compare label by label; `com` + `example` and `example.com` as one segment would be two spellings of one
    # host.
    if labels and host_labels(parse_authority(host := ".".join(reversed(labels)))) != tuple(labels):
        raise PatternError(
            "pattern.host", f"`{host[:80]}` is not the one spelling of a host", advice="one lower-case label a segment"
        )


def host_labels(authority: Authority) -> tuple[str, ...]:
    """The segments that name a host: its labels, last first; an IP address, whose text no label can equal, is one
    segment.
    """
    return (authority.host,) if authority.address is not None else tuple(reversed(authority.host.split(".")))


def is_suspicious(segments: tuple[bytes, ...]) -> bool:
    """Whether any segment is not clean text: invalid UTF-8, changed by NFKC, or with characters that hide, reorder or
    control.
    """
    return any(_PLAIN.match(segment) is None and _is_odd(segment) for segment in segments)


def _is_odd(segment: bytes) -> bool:
    try:
        text = segment.decode("utf-8")
    except UnicodeDecodeError:
        return True
    odd = any(unicodedata.category(char) in _ODD_CATEGORIES and char not in "\t\n" for char in text)
    return odd or not unicodedata.is_normalized("NFKC", text)
