"""What a skill looks like, and that whatever is not plainly one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.skill import MAX_SKILL_BYTES, Skill, is_skill_name, parse_skill
from astrid.errors import InputError

PLAIN = "---\nname: deploy-it\ndescription: How to deploy.\n---\n\n# Deploy\n\nRun it.\n"


def test_name_description_and_text_are_read() -> None:
    assert parse_skill(PLAIN.encode()) == Skill("deploy-it", "How to deploy.", "# Deploy\n\nRun it.")


@pytest.mark.parametrize(
    "front",
    [
        "name: a\r\ndescription: Some text\r",
        "name: \"a\"\ndescription: 'Some text'",
        "# a remark\nname:   a   \n\ndescription: Some text\nlicense: MIT\nallowed-tools:\n  - Bash\n- Read",
        "name: a\ndescription: >-\n  Some\n  text\nmetadata:\n  author: x\n  nested:\n    name: other",
        "description: Some\n  text\nname: a",
    ],
)
def test_what_other_programs_write_there_is_understood(front: str) -> None:
    found = parse_skill(f"---\n{front}\n---\nbody".encode())
    assert found == Skill("a", "Some text", "body")


BROKEN = {
    "nothing": b"",
    "no front matter": b"# Deploy\n",
    "one that does not begin the file": b"\n" + PLAIN.encode(),
    "one that does not end": b"---\nname: a\ndescription: b\n",
    "no name": b"---\ndescription: b\n---\n",
    "no description": b"---\nname: a\n---\n",
    "an empty description": b"---\nname: a\ndescription:\n---\n",
    "a description without end": b"---\nname: a\ndescription: " + b"x" * 1025 + b"\n---\n",
    "two names": b"---\nname: a\nname: b\ndescription: c\n---\n",
    "a line that is no field": b"---\nname: a\ndescription: b\nnonsense\n---\n",
    "a key without a blank": b"---\nname:a\ndescription: b\n---\n",
    "a line that goes on with nothing": b"---\n  name: a\ndescription: b\n---\n",
    "no text": b"---\nname: a\ndescription: \xff\n---\n",
    "too much": PLAIN.encode() + b"x" * MAX_SKILL_BYTES,
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_plainly_a_skill_is_refused(what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_skill(BROKEN[what])
    assert caught.value.code == "skill.malformed"
    assert caught.value.message


@pytest.mark.parametrize(
    "name", [".", "..", ".hidden", "a/b", "A", "a b", "a--b", "-a", "a-", "é", "", "a" * 65, "a\n"]
)
def test_a_name_is_one_plain_word(name: str) -> None:
    assert not is_skill_name(name)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_skill_or_refused(data: bytes) -> None:
    try:
        found = parse_skill(b"---\nname: a\n" + data)
    except InputError as error:
        assert error.code == "skill.malformed"
    else:
        assert is_skill_name(found.name)
        assert found.description
