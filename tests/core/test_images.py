"""What bytes are an image, what it is called, and which of many are shown."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core import images
from astrid.core.conversation import Image, Message, Picture, Text, ToolResult
from tests.fakes.pictures import jpeg, png


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (png(640, 480), "image/png"),
        (jpeg(640, 480), "image/jpeg"),
        (jpeg(640, 480, marker=0xC2), "image/jpeg"),  # progressive
        (jpeg(640, 480, before=b"\xff\xff\xff\xe1\0\x02\xff\x01\xff\xc4\0\x03A"), "image/jpeg"),
    ],
)
def test_an_image_is_known_by_its_first_bytes_and_sized_by_its_header(content: bytes, media_type: str) -> None:
    image = images.image_of(content, 7)
    assert image is not None
    assert (image.media_type, image.width, image.height) == (media_type, 640, 480)
    assert (image.size_bytes, image.digest, image.record) == (len(content), hashlib.sha256(content).hexdigest(), 7)
    assert image.data == b"", "its bytes are kept beside the log, and there alone"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"GIF89a" + bytes(20),
        png()[:8],
        png()[:20],
        png().replace(b"IHDR", b"IDAT"),
        png(0, 4),
        png(4, 0),
        png(8_001, 4),
        png(4, 8_001),
        png(2**31, 2**31),
        png(size=images.MAX_IMAGE_BYTES + 1),
        jpeg()[:4],
        jpeg(0, 4),
        jpeg(4, 0),
        jpeg(8_001, 4),
        jpeg(before=b"\xff\xe0\xff\xff"),  # longer than what there is
        jpeg(before=b"\xff\xe0\0\0"),  # shorter than itself
        jpeg(before=b"\xff\xda\0\x02"),
        b"\xff\xd8" + b"\xff" * 50,
        b"\xff\xd8\xff\xe0\0\x04ABno more markers",
    ],
)
def test_what_is_none_that_can_be_shown_is_no_image(content: bytes) -> None:
    assert images.image_of(content, 7) is None


@given(st.text(), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]))
def test_no_text_is_an_image(text: str, magic: bytes) -> None:
    assert not images.is_image(text.encode())
    with pytest.raises(UnicodeDecodeError):
        (magic + text.encode()).decode()


@given(st.binary(max_size=200))
def test_no_bytes_make_a_header_that_is_read_forever_or_beyond_its_end(tail: bytes) -> None:
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"):
        image = images.image_of(start + tail, 7)
        assert image is None or (1 <= image.width <= images.MAX_SIDE and 1 <= image.height <= images.MAX_SIDE)


def image(record: int, size_bytes: int = 100) -> Image:
    return Image(media_type="image/png", width=4, height=3, size_bytes=size_bytes, digest="ab" * 32, record=record)


def results(*seen: Image | None) -> list[Message]:
    """A conversation with these in its results."""
    parts = [ToolResult(id=str(number), content="", is_error=False, image=image) for number, image in enumerate(seen)]
    return [Message(role="user", parts=(Text(text="look"), part)) for part in parts]


def test_an_image_is_told_in_words() -> None:
    assert images.told(image(1)) == "[image/png, 4 x 3 pixels, 100 bytes, sha256 abababababababab]"


def test_the_images_of_a_conversation_are_found_in_their_order() -> None:
    assert images.images_in(results(image(1), None, image(2))) == [image(1), image(2)]
    assert images.shown(results(image(1), None, image(2))) == {1, 2}


def test_an_image_that_was_given_is_one_of_the_conversation() -> None:
    given = Message(role="user", parts=(Text(text="look"), Picture(image=image(1))))
    assert images.images_in([given, *results(image(2))]) == [image(1), image(2)]


def test_the_latest_images_are_shown_as_many_as_a_vendor_takes() -> None:
    many = results(*map(image, range(1, images.MAX_SHOWN + 3)))
    assert images.shown(many) == set(range(3, images.MAX_SHOWN + 3))


def test_the_latest_images_are_shown_as_many_bytes_as_a_vendor_takes() -> None:
    half = images.MAX_SHOWN_BYTES // 2
    assert images.shown(results(image(1), image(2, half), image(3, half))) == {2, 3}
    assert images.shown(results(image(1, 1), image(2, half), image(3, half + 1))) == {3}
