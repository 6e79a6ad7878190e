"""What the agent does for one process: listens to its probe, reads it when it freezes, records its end."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from diag.agent import exits, registry
from diag.agent.allowance import Allowance
from diag.agent.blackbox import frames_seen
from diag.agent.classify import classify
from diag.agent.door import Door
from diag.agent.freeze import freeze
from diag.agent.inquest import inquire
from diag.agent.node_options import REPORT_NAME
from diag.agent.recorder import Recorder
from diag.agent.registry import Target
from diag.agent.strangers import borrow_descriptor
from diag.agent.watched import Circumstances, Sent, Watched, evidence_of_end, evidence_of_event, evidence_of_hang
from diag.collectors import proc, pyspy
from diag.collectors.unmarshal import Torn, loads
from diag.config import Settings
from diag.errors import DiagError
from diag.evidence import LIBRARY_PATH, Ended, Evidence, Frame, HangSeen
from diag.model import Missing
from diag.probe.diag_probe import layout

STUCK_LIMIT_S = 0.5
HEARD_AT_ONCE = 1000  # more than a socket holds: who never stops talking does not keep the others from us
LINGER_S = 2.0  # how long an exception may take to end its process before it is recorded without its end
CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid (unix(7))


@dataclass(slots=True)
class Attendant:
    """Serves the processes of one instance. `asked` is the last SIGTERM or SIGINT that came for it, by `asker`."""

    target: Target
    settings: Settings
    recorder: Recorder
    door: Door
    command: tuple[str, ...]
    asked: int | None = None
    asker: str = ""
    allowance: Allowance | None = None  # how much may be recorded; an instance alone with its agent may do all it likes

    def look_at(self, process: Watched) -> None:
        """Read /proc anew; a process that is gone already, or a zombie, keeps its last look."""
        with contextlib.suppress(DiagError, OSError):
            facts, missing = proc.read_process(process.pid)
            if not facts.command and process.pid == self.target.pid:
                facts = replace(facts, command=self.command)  # a zombie has forgotten what it was
            if process.facts is None or facts.maps:
                process.facts, process.missing = facts, missing
            process.cgroup_text = Path(f"/proc/{process.pid}/cgroup").read_text()

    def look_at_remains(self, process: Watched) -> None:
        """What the kernel still says of a process that nobody has reaped yet."""
        if process.facts is not None:
            process.facts = proc.with_last_figures(process.facts, process.ticks)

    def listen(self, process: Watched, unknown: Callable[[int], Watched | None]) -> None:
        """Take what the probe has sent; `unknown` finds or begins the record of a pid that wrote to another's link."""
        for _ in range(HEARD_AT_ONCE):
            if process.link is None:
                return
            try:
                content, ancillary = next_message(process.link)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with an answer of ours unread; what it said before that still comes
            except OSError:
                content, ancillary = b"", []
            if not content:
                process.unlink()
            elif content[0] > layout.LAST_MESSAGE:
                # A child that C code forked writes to its parent's socket; the kernel says who it is.
                writer = _sender(ancillary)
                dying = unknown(writer) if writer not in (None, process.pid) else process
                self._freeze(dying or process, process.link)
            else:
                self._obey(process, content, unknown)

    def _obey(self, process: Watched, message: bytes, known: Callable[[int], Watched | None]) -> None:
        kind = message[:1]
        if kind == layout.HELLO:
            self.greet(process, message[1:])
        elif kind == layout.FATAL:
            self._hear_out(process)
        elif kind == layout.EVENT:
            self.record_events(process)
        elif kind == layout.STUCK:
            self._look_at_stuck(process, message[1:], known)
        elif kind == layout.KILL:
            self._note_kill(process, message[1:], known)

    def greet(self, process: Watched, payload: bytes) -> None:
        """The probe has said hello: take its black box."""
        try:
            name = loads(payload).get("box")
        except (Torn, AttributeError):
            return
        if isinstance(name, str) and name and "/" not in name and self.target.run_dir is not None:
            process.box_path = registry.box_path(self.target.run_dir, process.pid, process.ticks)
            made = self.door.folder / layout.BOX_FOLDER / name
            with contextlib.suppress(OSError):
                # Where boxes of all users are made, whoever names another user's is not believed.
                if self.door.folder == self.target.run_dir or made.lstat().st_uid == process.uid:
                    made.rename(process.box_path)

    def _freeze(self, process: Watched, link: socket.socket) -> None:
        if process.frozen is not None:
            with contextlib.suppress(OSError):
                link.recv(65536, socket.MSG_DONTWAIT)  # the rest of a text whose reading took too long
            return
        self.recorder.warm_up()
        box = process.box()
        wanted = box.header().get("faulthandler_fd") if box else None
        echo_to = borrow_descriptor(process.pidfd, wanted) if isinstance(wanted, int) else None
        process.frozen = freeze(process.pid, link, with_locals=self.settings.locals, echo_to=echo_to)
        if echo_to is not None:
            os.close(echo_to)

    def _hear_out(self, process: Watched) -> None:
        """The main thread's exception: read what only a living process shows, then let it go on."""
        box = process.box()
        process.fatal = box.fatal() if box else None
        self.look_at(process)
        if process.link is not None:
            with contextlib.suppress(OSError):
                process.link.send(layout.ACK, socket.MSG_DONTWAIT)
        self.recorder.warm_up()  # not before: it would hold up the answer

    def _look_at_stuck(self, server: Watched, payload: bytes, known: Callable[[int], Watched | None]) -> None:
        """A server is about to end a worker that is silent: where does it stand? The server waits for a moment."""
        with contextlib.suppress(DiagError, Torn):
            pid = loads(payload)
            worker = known(pid) if isinstance(pid, int) and _counts_pids_as_we_do(server) else None
            if worker is not None and worker is not server:
                worker.stuck = pyspy.dump(worker.pid, native=True, timeout_s=STUCK_LIMIT_S)
        if server.link is not None:
            with contextlib.suppress(OSError):
                server.link.send(layout.ACK, socket.MSG_DONTWAIT)

    def _note_kill(self, sender: Watched, payload: bytes, known: Callable[[int], Watched | None]) -> None:
        with contextlib.suppress(Torn, TypeError, ValueError):
            pid, number, callers = loads(payload)
            victim = known(pid) if isinstance(pid, int) and _counts_pids_as_we_do(sender) else None
            if victim is not None and isinstance(number, int):
                who = (
                    "itself" if victim is sender else f"pid {sender.pid} ({sender.facts.name if sender.facts else '?'})"
                )
                victim.sent = Sent(number, f"{who}{_by_whose_call(frames_seen(callers))}")

    def record_events(self, process: Watched) -> None:
        """Record what the probe noted since the last time."""
        box = process.box()
        if box is None:
            return
        records = list(box.events(process.events_read))
        process.events_read = box.events_written
        for record in records:
            self._keep(evidence_of_event(process, record, self._around()), "event")
        if records and process.box_path is not None and self.allowance is not None:
            # An agent that comes after us goes on from here.
            self.recorder.afterwards(partial(registry.note_read, process.box_path, process.events_read))

    def record_hang(self, process: Watched, seen: HangSeen) -> str:
        """Record what does not get on in a process that lives; returns the capture's id."""
        evidence = evidence_of_hang(process, seen, self._around())
        self.recorder.submit(evidence, "event")
        return evidence.capture_id

    def record_end(self, process: Watched, ended: Ended) -> None:
        """Record how the process ended, if that is worth a record."""
        first = process.pid == self.target.pid
        ended, seen = inquire(
            process,
            ended,
            asked=self.asked,
            first=first,
            stderr_tail=self.door.tail_text(),
            node_file=self.door.folder / REPORT_NAME if first else None,
            is_go=first and self.door.is_go,
        )
        end = classify(ended, seen)
        if end is None or process.recorded:
            return
        if self.asked and end.level == "EVENT":
            sentence = f"{exits.signal_name(self.asked)} was sent to the instance by {self.asker}"
            ended = replace(ended, evidence=(*ended.evidence, sentence), asked=self.asked, sender=self.asker)
        self._submit(process, evidence_of_end(process, ended, end.level, end.trigger, self._around()), end.kind)

    def record_without_end(self, process: Watched) -> None:
        """An exception whose process lives on, because other threads do: recorded once, now."""
        if process.fatal is None or process.recorded:
            return
        still = Ended(evidence=(f"the process still ran {LINGER_S:.0f} s after its main thread's exception",))
        self._submit(process, evidence_of_end(process, still, "FULL", "exception", self._around()), "crash")

    def let_go(self, process: Watched) -> None:
        """Nothing more comes of it. Its black box stays until its record is kept: until then we may be killed."""
        process.close()
        self.recorder.afterwards(process.remove_box, process.recorded_as)

    def _submit(self, process: Watched, evidence: Evidence, kind: str) -> None:
        process.claim(evidence.capture_id)
        self._keep(evidence, kind)
        process.recorded, process.recorded_as = True, evidence.capture_id

    def _keep(self, evidence: Evidence, kind: str) -> None:
        if self.allowance is None or self.allowance.take():
            self.recorder.submit(evidence, kind)
        else:
            self.recorder.refuse(evidence.capture_id)

    def _around(self) -> Circumstances:
        reasons = (("stderrTail", self.door.no_tail), ("probe", self.door.no_probe))
        missing = tuple(Missing(section, reason) for section, reason in reasons if reason)
        return Circumstances(self.target, self.door.tail_text(), missing)


def _by_whose_call(callers: tuple[Frame, ...]) -> str:
    """`, by os.kill in stop (app.py:20)`: the program's own caller, where there is one among the innermost."""
    own = [frame for frame in callers if frame.file and not LIBRARY_PATH.search(frame.file)]
    return "".join(f", by os.kill in {f.function} ({Path(f.file or '?').name}:{f.line})" for f in (own or callers)[:1])


def _counts_pids_as_we_do(process: Watched) -> bool:
    """Not so in a pid namespace of its own: there its numbers mean other processes than here."""
    box = process.box()
    return box is not None and box.header().get("pid") == process.pid


def next_message(link: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """The next message, and what the kernel says of its writer; faulthandler's text stays where it is."""
    head = link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    stays = socket.MSG_PEEK if head and head[0] > layout.LAST_MESSAGE else 0
    content, ancillary, _, _ = link.recvmsg(65536, socket.CMSG_SPACE(CREDENTIALS.size), socket.MSG_DONTWAIT | stays)
    return content, ancillary


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(content[: CREDENTIALS.size])[0]) or None
    return None
