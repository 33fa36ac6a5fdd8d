"""What came of a replay, for people and for programs.  Pure.

Never: prints a word of a session unescaped.

Source: architecture 7; threats 37.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from astrid.core.ids import show_id
from astrid.core.quoting import quote
from astrid.core.redecide import Again, How, Untold
from astrid.core.replay import Difference
from astrid.core.replay_log import Unproposed
from astrid.core.turn_messages import AnyRow, encode_row
from astrid.errors import plain
from astrid.runtime.replaying import Replayed

SAME, DIFFERS = 0, 4
MAX_SHOWN = 400  # characters of a value that differs

Fields = dict[str, object]


def exit_code(found: Replayed) -> int:
    """0 if nothing comes out otherwise, else 4."""
    return SAME if found.same else DIFFERS


def as_json(found: Replayed) -> str:
    """One object."""
    return json.dumps(
        {
            "session_id": show_id("session", found.session),
            "same": found.same,
            "exit": exit_code(found),
            "policy": found.by or None,
            "rows": found.rows,
            "proposals": found.proposals,
            "difference": _difference_fields(found.difference),
            "decisions": [_decision_fields(one) for one in found.decisions],
        }
    )


def as_text(found: Replayed) -> str:
    """For a terminal."""
    return "\n".join(map(plain, _lines(found)))


def _lines(found: Replayed) -> Iterator[str]:
    outcome = "replays to itself" if found.difference is None else "does not replay to itself"
    yield f"{show_id('session', found.session)} {outcome}: {found.rows} rows, {found.proposals} proposals"
    yield from _difference_lines(found.difference)
    decisions = found.decisions
    kinds = Counter(one.was.what for one in decisions)
    yield f"  decisions: {', '.join(f'{count} {what}' for what, count in kinds.items()) or 'none'}"
    again = [(one, one.now) for one in decisions if isinstance(one.now, How)]
    differing = [(one, now) for one, now in again if one.differs]
    untold = Counter(one.now.why for one in decisions if isinstance(one.now, Untold))
    by = f"by the policy in {found.by}" if found.by else "decided again"
    yield f"  {by}: {len(again) - len(differing)} the same, {len(differing)} otherwise, {untold.total()} not to be told"
    yield from (_decision_line(one, now) for one, now in differing)
    yield from (f"  not to be told ({count}): {why}" for why, count in untold.items())


def _difference_lines(difference: Difference | Unproposed | None) -> Iterator[str]:
    match difference:
        case Difference(row, was, now):
            yield f"  the first difference is row {row}"
            before, after = _row_fields(was), _row_fields(now)
            for name in dict.fromkeys((*before, *after)):
                if before.get(name) != after.get(name):
                    yield f"    {name}: was {_shown(before, name)}, is {_shown(after, name)}"
        case Unproposed(seq, tool, was, now):
            yield f"  the first difference is record {seq}: what was decided about there is not proposed any more"
            yield f"    call of {tool or 'a tool'}: its digest was {was.hex() or '-'}, is {now.hex() or '-'}"
        case None:
            pass


def _shown(fields: Fields, name: str) -> str:
    if name not in fields:
        return "nothing"
    return quote(json.dumps(fields[name], ensure_ascii=False).encode("utf-8", "surrogateescape"))[:MAX_SHOWN]


def _decision_line(one: Again, now: How) -> str:
    was = f"was {one.was.what}{f': {one.was.why}' if one.was.why else ''}"
    rules = f" ({', '.join(now.rules)})" if now.rules else ""
    return f"  record {one.seq}: {one.tool} {was}; would be {now.what}{f': {now.why}' if now.why else ''}{rules}"


def _decision_fields(one: Again) -> Fields:
    told: Fields = {"record": one.seq, "tool": one.tool, "differs": one.differs, "was": _how_fields(one.was)}
    if isinstance(one.now, Untold):
        return {**told, "now": None, "untold": one.now.why}
    return {**told, "now": _how_fields(one.now), "untold": None}


def _how_fields(how: How) -> Fields:
    return {"what": how.what, "why": how.why, "rules": list(how.rules)}


def _difference_fields(difference: Difference | Unproposed | None) -> Fields | None:
    match difference:
        case Difference(row, was, now):
            return {"row": row, "was": _row_fields(was) or None, "now": _row_fields(now) or None}
        case Unproposed(seq, tool, was, now):
            return {"record": seq, "tool": tool, "was": was.hex() or None, "now": now.hex() or None}
        case None:
            return None


def _row_fields(row: AnyRow | None) -> Fields:
    return {} if row is None else json.loads(encode_row(row))
