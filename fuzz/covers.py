"""INVARIANT: a pattern that covers another matches whatever the other matches, over resources drawn from both."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from astrid.core.resources import covers, matches, parse_pattern, parse_resource
from astrid.errors import PatternError

segment = st.text("ab*.", min_size=1, max_size=3)
patterns = st.tuples(st.lists(segment, min_size=1, max_size=3), st.booleans()).map(
    lambda drawn: "file://" + "/".join([*drawn[0], *(["**"] if drawn[1] else [])])
)
resources = st.lists(st.text("abc.", min_size=1, max_size=3), min_size=1, max_size=4).map(
    lambda s: "file://" + "/".join(s)
)


@given(patterns, patterns, st.lists(resources, min_size=1, max_size=20))
def test_what_the_narrower_matches_the_wider_matches(wide: str, narrow: str, texts: list[str]) -> None:
    try:
        wider, narrower = parse_pattern(wide), parse_pattern(narrow)
    except PatternError:
        assume(False)
        return
    if covers(wider, narrower):
        for text in texts:
            try:
                resource = parse_resource(text)
            except PatternError:
                continue
            assert matches(wider, resource) or not matches(narrower, resource)
