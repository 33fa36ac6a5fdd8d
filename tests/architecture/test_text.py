"""What the project's files must not say: where they were written."""

from __future__ import annotations

import re

from tests.architecture.source import ROOT, project_files

# Absolute paths only: a folder called `work` below somebody's home is no trace.
TRACES = re.compile(
    r"(?<![\w.*%{}-])/(?:work/(?:main|shared|\.)|tmp/tv\b|opt/(?:pypi|wheels)\b)"
    r"|\bshared/(?:reference|design|prototypes|data|hooks)\b"
)


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    found: list[str] = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in TRACES.finditer(text)]
    assert found == []


def test_a_named_folder_would_be_found() -> None:
    assert TRACES.search("see " + "/".join(("", "work", "main", "x.py")))
    assert TRACES.search("run " + "/".join(("", "tmp", "tv", "bin")))
