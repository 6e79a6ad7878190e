"""Frames: whose code they are, what native addresses are called, and where a dying thread really stood."""

from __future__ import annotations

import ctypes
import os
from dataclasses import replace

import pytest
from unit.report.factory import (
    APP,
    LIBC,
    PID,
    PYTHON,
    crashed,
    evidence,
    made,
    maps_of_this_process,
    native,
    process,
    python_frame,
    stack,
)

from diag.evidence import Frame, Thread
from diag.report.elf import build_id
from diag.report.stacks import Scene, in_app

HERE = Scene(working_directory="/srv/shop", executable="/srv/shop/bin/server")


@pytest.mark.parametrize(
    ("file", "module", "own"),
    [
        (APP, "app", True),
        ("app.py", "__main__", True),
        ("/opt/other/place.py", "place", True),
        ("<string>", "__main__", True),
        ("<stdin>", None, True),
        (None, "app", True),
        (None, None, False),
        ("/srv/shop/venv/lib/python3.11/site-packages/flask/app.py", "flask.app", False),
        ("/usr/lib/python3/dist-packages/requests/api.py", "requests.api", False),
        ("/usr/lib/python3.11/threading.py", "threading", False),
        ("/root/.pyenv/versions/3.13.1/lib/python3.13/json/decoder.py", "json.decoder", False),
        ("/usr/lib64/python3.9/socket.py", "socket", False),
        ("/opt/python/lib/python312.zip/abc.py", "abc", False),
        ("/srv/shop/venv/bin/gunicorn", "__main__", False),
        ("/srv/shop/bin/serve.py", "__main__", True),
        ("<frozen importlib._bootstrap>", "importlib._bootstrap", False),
        ("/x/diag_probe/wsgi.py", "diag_probe.wsgi", False),
        ("/x/sitecustomize.py", "sitecustomize", False),
    ],
)
def test_application_frames(file: str | None, module: str | None, own: bool) -> None:
    """The application is what is neither installed, nor the standard library, nor frozen, nor ours."""
    assert in_app(Frame("f", file=file, line=1, module=module), HERE) is own


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("/srv/shop/native/codec.so", True),
        ("/srv/shop/venv/lib/python3.11/site-packages/numpy/core.so", False),
        ("/srv/shop/bin/server", False),
        ("/srv/shop/lib/libpython3.11.so.1.0", False),
        ("/srv/shopping/codec.so", False),
        (LIBC, False),
        (None, False),
    ],
)
def test_native_frames_belong_to_the_application_below_its_folder(module: str | None, own: bool) -> None:
    """Native code is the application's only where it lies in the working directory, and is no interpreter."""
    assert in_app(Frame("f", module=module, language="native"), HERE) is own
    assert in_app(Frame("f", module=module, language="native"), Scene(working_directory="/")) is False


def address_of(name: str) -> int:
    """The address of a function of the interpreter that runs the tests."""
    address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    assert address is not None
    return address


def live(*frames: Frame) -> list[dict[str, object]]:
    """The first thread's frames, from a process that is mapped like this one."""
    facts = process(maps=maps_of_this_process(), executable=os.path.realpath(PYTHON))
    return made(evidence(process=facts, threads=(Thread(PID, frames=frames),)))["threads"][0]["frames"]


def test_bare_addresses_get_their_names() -> None:
    """An address where a name should be is resolved, with module and build id; what has a name keeps it."""
    address = address_of("PyObject_Call")
    bare, named = live(native(hex(address + 4), ""), native("my_name", "", address + 4))
    assert bare["function"] == "PyObject_Call"
    assert named["function"] == "my_name"
    assert bare["buildId"] == build_id(str(bare["module"]))
    assert bare["address"] == f"0x{address + 4:016x}"


def test_a_caller_is_named_by_its_call() -> None:
    """A return address right behind a function belongs to the function that ends there, not to the next one."""
    at = address_of("PyObject_Call")
    top, caller = live(native(hex(at), ""), native(hex(at), ""))
    assert top["function"] == "PyObject_Call"
    assert caller["function"] != "PyObject_Call"


def test_an_address_without_symbol_shows_its_offset() -> None:
    """In a stripped library an address reads `libc.so.6+0x1234`, which addr2line takes; an unmapped one stays."""
    libc = next(m for m in maps_of_this_process() if "libc.so" in m.path and "x" in m.permissions)
    inside, outside = live(native(hex(libc.start), ""), native("0x10000", ""))
    assert inside["function"].startswith("libc.so.6+0x")
    assert outside["function"] == "0x10000"
    assert outside["module"] is None


HANDLER = (
    native("write"), native("dump_ascii"), native("faulthandler_fatal_error", PYTHON), native("__restore_rt"),
)  # fmt: skip


@pytest.mark.parametrize(
    "above",
    [
        HANDLER,
        HANDLER[:3],
        (*HANDLER[:3], native("killpg")),
        (*HANDLER[:3], native("0x7f0000001000")),
        (native("write"), native("<signal handler called>")),
        (),
    ],
)
def test_the_signal_handler_is_not_where_it_died(above: tuple[Frame, ...]) -> None:
    """The dying thread's stack starts at the frame that died, whatever the handler's frames are called."""
    report = made(crashed(11, (*above, native("strlen"), *stack("crash_view")), address=0, trapno=14))
    assert [frame["function"] for frame in report["threads"][0]["frames"]][:2] == ["strlen", "crash_view"]


def test_the_instruction_pointer_decides_where_the_handler_ends() -> None:
    """Where a frame stands at the faulting instruction, everything above it goes, whatever its name."""
    frames = (native("x"), native("y"), native("boom", "/lib/b.so", 0x5000), *stack())
    report = made(crashed(11, frames, registers={"rip": 0x5000}))
    assert report["threads"][0]["frames"][0]["function"] == "boom"


def test_without_native_frames_the_instruction_pointer_is_the_top() -> None:
    """Where only Python was read, the register still tells which native function died."""
    facts = process(maps=maps_of_this_process())
    at = address_of("PyObject_Call")
    report = made(crashed(11, stack(), process=facts, registers={"rip": at}, address=0, trapno=14))
    top = report["threads"][0]["frames"][0]
    assert (top["function"], top["language"], top["address"]) == ("PyObject_Call", "native", f"0x{at:016x}")


def test_other_threads_keep_their_frames() -> None:
    """Only the crashing thread is cut: another one may really be inside faulthandler."""
    seen = crashed(11, stack())
    other = Thread(PID + 5, frames=(native("faulthandler_fatal_error"), native("f")))
    report = made(replace(seen, threads=(*seen.threads, other)))
    assert len(report["threads"][-1]["frames"]) == 2


def test_the_crashed_thread_is_not_called_idle() -> None:
    """It only looks so, because it waits for us; what others do is told."""
    seen = crashed(11, stack())
    report = made(replace(seen, threads=(*seen.threads, Thread(PID + 5, state="idle", frames=stack("waits")))))
    assert [(one["threadId"], one["state"]) for one in report["threads"]] == [
        (PID, None), (PID + 1, None), (PID + 5, "idle"),
    ]  # fmt: skip


def test_locals_appear_where_they_were_read() -> None:
    """A frame with locals shows them, one without has no such key."""
    frames = (python_frame("view", locals={"sku": "'a'"}), python_frame("main"))
    shown = made(evidence(threads=(Thread(PID, frames=frames),)))["threads"][0]["frames"]
    assert shown[0]["locals"] == {"sku": "'a'"}
    assert "locals" not in shown[1]


def test_the_main_thread_leads_where_none_crashed() -> None:
    """`pythonStack` of a live process is that of its main thread, wherever that stands in the list."""
    threads = (Thread(PID + 9, frames=stack("other")), Thread(PID, frames=stack("main_view")))
    assert made(evidence(threads=threads))["pythonStack"]["frames"][0]["function"] == "main_view"
