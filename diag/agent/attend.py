"""What the agent does for one process: listens to its probe, reads it when it freezes, records its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diag.agent import exits, registry, timeouts
from diag.agent.blackbox import exception_seen
from diag.agent.classify import Seen, classify
from diag.agent.door import Door
from diag.agent.freeze import freeze
from diag.agent.recorder import Recorder
from diag.agent.registry import Target
from diag.agent.strangers import borrow_descriptor
from diag.agent.watched import Circumstances, Watched, evidence_of_end, evidence_of_event
from diag.collectors import cgroup, kernel_log, proc
from diag.collectors.unmarshal import Torn, loads
from diag.config import Settings
from diag.errors import DiagError
from diag.evidence import Ended, Evidence
from diag.model import Missing
from diag.probe.diag_probe import layout

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
        while process.link is not None:
            try:
                content, ancillary, _, _ = process.link.recvmsg(
                    65536, socket.CMSG_SPACE(CREDENTIALS.size), socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            except OSError:
                content, ancillary = b"", []
            if not content:
                process.unlink()
            elif content[0] > layout.LAST_MESSAGE:
                # A child that C code forked writes to its parent's socket; the kernel says who it is.
                writer = _sender(ancillary)
                dying = unknown(writer) if writer not in (None, process.pid) else process
                self._freeze(dying or process, process.link, content)
            else:
                self._obey(process, content)

    def _obey(self, process: Watched, message: bytes) -> None:
        kind = message[:1]
        if kind == layout.HELLO:
            self._greet(process, message[1:])
        elif kind == layout.FATAL:
            self._hear_out(process)
        elif kind == layout.EVENT:
            self.record_events(process)

    def _greet(self, process: Watched, payload: bytes) -> None:
        try:
            name = loads(payload).get("box")
        except (Torn, AttributeError):
            return
        if isinstance(name, str) and name and "/" not in name and self.target.run_dir is not None:
            process.box_path = registry.box_path(self.target.run_dir, process.pid, process.ticks)
            with contextlib.suppress(OSError):
                (self.target.run_dir / layout.BOX_FOLDER / name).rename(process.box_path)

    def _freeze(self, process: Watched, link: socket.socket, first: bytes) -> None:
        if process.frozen is not None:
            return  # the rest of a text whose reading took too long
        self.recorder.warm_up()
        box = process.box()
        wanted = box.header().get("faulthandler_fd") if box else None
        echo_to = borrow_descriptor(process.pidfd, wanted) if isinstance(wanted, int) else None
        process.frozen = freeze(process.pid, link, first, with_locals=self.settings.locals, echo_to=echo_to)
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

    def record_events(self, process: Watched) -> None:
        """Record what the probe noted since the last time."""
        box = process.box()
        if box is None:
            return
        records = list(box.events(process.events_read))
        process.events_read = box.events_written
        for record in records:
            self.recorder.submit(evidence_of_event(process, record, self._around()), "event")

    def record_end(self, process: Watched, ended: Ended) -> None:
        """Record how the process ended, if that is worth a record."""
        box = process.box()
        process.fatal = process.fatal or (box.fatal() if box else None)
        leaving = box.leaving() if box and not process.fatal and not process.frozen else None
        in_handler = leaving is not None and timeouts.is_handler(leaving)
        if leaving is not None:
            # gunicorn's worker survives the SystemExit in the handler, as a rule, and leaves with 0 a little later.
            process.leaving = leaving if in_handler else None
            ended = _with_call(process, ended, leaving)
        kills = _oom_kills_since(process) if ended.signal == signal.SIGKILL else 0
        line = kernel_log.oom_kill(process.pid, process.ticks) if ended.signal == signal.SIGKILL else None
        if line:
            ended = replace(ended, evidence=(*ended.evidence, f"the kernel's log: {line}"))
        seen = Seen(
            raised=process.fatal is not None,
            frozen=process.frozen is not None,
            left_cleanly=bool(box and box.left_cleanly),
            called=ended.call,
            stacks=process.leaving is not None,
            timed_out=in_handler or timeouts.master_said_so(process.pid, self.door.tail_text()),
            out_of_memory=kills > 0 or line is not None,
            asked=self.asked,
            first=process.pid == self.target.pid,
        )
        end = classify(ended, seen)
        if end is None or process.recorded:
            return
        if process.facts is not None and kills:
            process.facts = replace(process.facts, cgroup={**process.facts.cgroup, "oom_kill_delta": kills})
        if self.asked and end.level == "EVENT":
            sentence = f"{exits.signal_name(self.asked)} was sent to the instance by {self.asker}"
            ended = replace(ended, evidence=(*ended.evidence, sentence), asked=self.asked)
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
        self.recorder.afterwards(process.remove_box)

    def _submit(self, process: Watched, evidence: Evidence, kind: str) -> None:
        process.claim(evidence.capture_id)
        self.recorder.submit(evidence, kind)
        process.recorded = True

    def _around(self) -> Circumstances:
        reasons = (("stderrTail", self.door.no_tail), ("probe", self.door.no_probe))
        missing = tuple(Missing(section, reason) for section, reason in reasons if reason)
        return Circumstances(self.target, self.door.tail_text(), missing)


def _with_call(process: Watched, ended: Ended, leaving: dict[str, Any]) -> Ended:
    """The end, with the call by which the program left; unless it left in another way after that."""
    status = leaving.get("status")
    if ended.signal is not None or not isinstance(status, int) or ended.status not in (status, None):
        return ended
    process.leaving = leaving
    evidence = ended.evidence
    if ended.status is None:
        evidence = (*evidence, f"the black box says that it called {leaving.get('call')} with status {status}")
    message = exception_seen(leaving["exception"]).message
    return replace(ended, status=status, call=str(leaving.get("call")), message=message, evidence=evidence)


def _oom_kills_since(process: Watched) -> int:
    """OOM kills in the process's memory cgroup since we first looked at it."""
    before = process.facts.cgroup.get("memory", {}).get("oomKills") if process.facts else None
    if process.facts is None or before is None:
        return 0
    after = cgroup.read_cgroup(process.cgroup_text).get("memory", {}).get("oomKills")
    return max(0, int(after or 0) - int(before))


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(content[: CREDENTIALS.size])[0]) or None
    return None
