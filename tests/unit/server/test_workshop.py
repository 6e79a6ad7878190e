"""What is made of stored profiles: once, with limits, in a process of its own."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import captured
import deaths
import pytest
from diag_server import profile_work
from diag_server.config import ViewerConfig
from diag_server.errors import CannotDraw, TooLarge
from diag_server.workshop import Workshop
from profiled import COUNT

from diag.profiles import formats
from diag.upload.stores import open_store


@pytest.fixture
def config(tmp_path: Path) -> ViewerConfig:
    """A viewer's settings, with a folder for what is made."""
    return ViewerConfig((tmp_path / "store").as_uri(), "", made=tmp_path / "made")


def workshop(config: ViewerConfig) -> Workshop:
    return Workshop(open_store(config.store_url, ""), config)


def stored(tmp_path: Path, made: deaths.Made) -> deaths.Made:
    return deaths.write(made, tmp_path / "store")


def test_a_result_is_made_once(tmp_path: Path, config: ViewerConfig) -> None:
    """The second time it comes from the folder, also when the profile is gone."""
    one = stored(tmp_path, captured.made(captured.shop()))

    first = workshop(config).made("collapsed", one.capture)
    (tmp_path / "store" / one.key("profile.pb.gz")).unlink()

    assert workshop(config).made("collapsed", one.capture) == first
    assert b"checkout" in gzip.decompress(first)


def test_without_a_folder_nothing_is_kept(tmp_path: Path, config: ViewerConfig) -> None:
    """It is made anew each time, and leaves nothing behind."""
    one = stored(tmp_path, captured.made(captured.shop()))

    assert workshop(replace(config, made=None)).facts("pictures", one.capture)["cells"]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("job", ["speedscope", "flamegraph"])
def test_what_is_written_can_be_read(tmp_path: Path, config: ViewerConfig, job: str) -> None:
    """The files are profiles with the same samples; the one that is drawn has one sample type."""
    one = stored(tmp_path, captured.made(captured.shop(samples=50)))

    read = formats.read(gzip.decompress(workshop(config).made(job, one.capture)), "speedscope")

    assert len(read) == 50
    assert (COUNT in read.sample_types) == (job == "speedscope")


BAD = {
    "text": b"no profile",
    "cut": formats.write(captured.shop(), "pprof")[:400],
    "bomb": gzip.compress(bytes(profile_work.MOST_UNPACKED_BYTES + 1), 1),
    "nothing": b"",
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_profile_is_refused_once(tmp_path: Path, config: ViewerConfig, case: str) -> None:
    """A sentence says what is wrong; it is remembered, so that a bomb goes off only once."""
    one = stored(tmp_path, captured.with_files(captured.made(captured.shop()), {"profile.pb.gz": BAD[case]}))

    with pytest.raises(CannotDraw) as first:
        workshop(config).made("pictures", one.capture)
    (tmp_path / "store" / one.key("profile.pb.gz")).unlink()
    with pytest.raises(CannotDraw) as second:
        workshop(config).made("pictures", one.capture)

    assert str(first.value) == str(second.value) != ""
    assert not list((tmp_path / "made").glob("work-*"))


def test_large_files_are_not_read(tmp_path: Path, config: ViewerConfig) -> None:
    """More bytes than the limit are refused, whether the manifest tells them or not."""
    one = stored(tmp_path, captured.made(captured.shop()))
    (told,) = (artifact for artifact in one.capture.artifacts if artifact.kind == "profile")
    lying = replace(one.capture, artifacts=(replace(told, size_bytes=1),))

    for capture in (one.capture, lying):
        with pytest.raises(TooLarge):
            workshop(replace(config, max_profile_bytes=100)).made("pictures", capture)


def test_a_capture_without_a_profile_has_nothing_to_draw(config: ViewerConfig) -> None:
    """It is said, and nothing is fetched."""
    with pytest.raises(CannotDraw, match="has no profile"):
        workshop(config).made("pictures", deaths.made(deaths.killed()).capture)


def test_the_folder_has_a_limit(tmp_path: Path, config: ViewerConfig) -> None:
    """What was not asked for for the longest time makes room."""
    small = replace(config, max_made_bytes=1)
    one = stored(tmp_path, captured.made(captured.shop()))

    workshop(small).made("collapsed", one.capture)

    assert sum(path.stat().st_size for path in (tmp_path / "made").iterdir()) <= 1


def test_different_things_cannot_be_compared(tmp_path: Path, config: ViewerConfig) -> None:
    """Two profiles that measure different things are refused with both names."""
    time = captured.shop(samples=10)
    memory = replace(time, sample_types=(time.sample_types[0], time.sample_types[1]._replace(name="space")))
    a, b = (stored(tmp_path, captured.made(one)) for one in (time, memory))

    with pytest.raises(CannotDraw, match="measure different things: space"):
        workshop(config).made("diff", a.capture, b.capture)
    assert json.loads(gzip.decompress(workshop(config).made("diff", a.capture, a.capture)))["functions"] == []
