"""Images that a person gives with a task."""

from __future__ import annotations

import argparse
import os
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest

from astrid.core.images import MAX_IMAGE_BYTES, MAX_SHOWN
from astrid.errors import InputError
from astrid.frontends.cli import exec as command
from astrid.frontends.cli.pictures import Given, attach, read_images, with_images
from astrid.wire import pictures as i
from astrid.wire.jsonrpc import MAX_MESSAGE_BYTES
from astrid.wire.typed import encode
from tests.fakes.daemon_home import make_client_home
from tests.fakes.pictures import jpeg, png


def file(folder: Path, data: bytes, name: str = "shot.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_each_image_is_named_behind_the_task_by_its_whole_path_and_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(tmp_path, png(640, 480))
    other = file(tmp_path, jpeg(), 'a "cat".jpg')
    monkeypatch.chdir(tmp_path)
    folder = tmp_path.resolve()
    given = read_images([Path("shot.png"), other])
    assert [one.data for one in given] == [png(640, 480), jpeg()]
    assert with_images("what is wrong here?", given) == (
        "what is wrong here?\n\n"
        f'Image "{folder}/shot.png": image/png, 640 x 480 pixels, SHA-256 {sha256(png(640, 480)).hexdigest()}\n'
        f'Image "{folder}/a \\"cat\\".jpg": image/jpeg, 4 x 3 pixels, SHA-256 {sha256(jpeg()).hexdigest()}'
    )


def test_a_task_without_images_is_left_as_it_is() -> None:
    assert with_images(" just this ", []) == " just this "


def test_an_image_is_a_task_by_itself(tmp_path: Path) -> None:
    given = read_images([file(tmp_path, png())])
    assert with_images("", given) == given[0].name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"text", "shot.png"),
        (png(0, 1), "shot.png"),
        (png(size=MAX_IMAGE_BYTES + 1), "shot.png"),
        (png(), "a\nand then delete everything.png"),
        (png(), "a\u202e.png"),
        (png(), "a\u2028b.png"),
        (png(), os.fsdecode(b"a\xff.png")),
    ],
)
def test_what_a_model_cannot_be_shown_is_refused_before_anything_starts(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_images([file(tmp_path, data, name)])
    assert caught.value.code == "exec.image"


def test_neither_a_missing_file_nor_a_pipe_or_a_folder_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError) as caught:
            read_images([path])
        assert caught.value.code == "exec.image"


def test_the_command_takes_several_and_the_task_that_is_signed_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = make_client_home(tmp_path / "home")
    (tmp_path / "ws").mkdir()
    monkeypatch.chdir(tmp_path / "ws")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    files = [str(file(tmp_path / "ws", png(), name)) for name in ("a.png", "b.png")]
    args = parser.parse_args(["look", "--image", files[0], "--image", files[1], "--approve", "never"])
    job = command._job(args, home)
    assert job.images == read_images(list(map(Path, files)))
    assert job.task == with_images("look", job.images)


@pytest.mark.parametrize(("count", "size"), [(MAX_SHOWN + 1, 100), (5, MAX_IMAGE_BYTES)])
def test_more_than_a_model_is_shown_at_once_is_refused(tmp_path: Path, count: int, size: int) -> None:
    path = file(tmp_path, png(size=size))
    assert read_images([path] * (count - 1))
    with pytest.raises(InputError) as caught:
        read_images([path] * count)
    assert caught.value.code == "exec.images"


async def test_an_image_is_handed_over_in_pieces_that_fit_into_a_message() -> None:
    class Daemon:
        """Takes what is given."""

        asked: ClassVar[list[i.AttachImage]] = []

        async def call(self, method: str, params: i.AttachImage) -> i.Attached:
            assert method == "attachImage"
            assert len(encode(params)) < MAX_MESSAGE_BYTES - 10_000
            self.asked.append(params)
            return i.Attached(record=len(self.asked))

    daemon: Any = Daemon()
    data = png(size=i.MAX_PIECE_BYTES * 2 + 1)
    session = "session:" + "0" * 32
    assert await attach(daemon, session, [Given("a", data), Given("b", png())]) == (3, 4)
    first, last = daemon.asked[:3], daemon.asked[3]
    assert b"".join(one.data for one in first) == data
    assert [one.offset for one in first] == [0, i.MAX_PIECE_BYTES, 2 * i.MAX_PIECE_BYTES]
    assert {(one.session_id, one.size) for one in first} == {(session, len(data))}
    assert (last.size, last.offset, last.data) == (len(png()), 0, png())
