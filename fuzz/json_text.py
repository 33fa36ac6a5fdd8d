"""INVARIANT: text that the scanner accepts means one thing elsewhere too: no duplicate keys, no odd numbers."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.json_scan import scan_json
from astrid.errors import CanonError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_accepted_text_means_one_thing(data: bytes) -> None:
    try:
        scan_json(data, max_bytes=10_000, max_depth=32)
    except CanonError:
        return
    json.loads(data, object_pairs_hook=no_duplicates)
