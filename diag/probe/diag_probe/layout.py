"""What the probe and the agent agree on: environment, messages on the link, and the black box's bytes.

Shared by both sides and imported by nobody else's code: constants only, so that it costs a probed start nothing.

Environment. `DIAG_PROBE_SOCKET` is the path of the agent's SOCK_SEQPACKET Unix socket; black boxes stand in the
folder `bb` beside it. `DIAG_LOCALS=1` asks for locals in exception reports. Absent or unreachable socket: the probe
does nothing at all.

Link. Every packet from the probe starts with one of the MESSAGE bytes; anything else is text that CPython's
faulthandler writes while the process stands still in a fatal signal. The agent answers FATAL and STUCK with ACK.

Questions. `diag` writes a record QUESTION into a live process's box and sends SIGURG, which is ignored by default, so
that it never hurts a process that has no probe (any more). The probe answers on its main thread: it empties the record,
connects to the abstract Unix stream socket that the question names, and writes one marshalled tuple.

Black box. A file of SIZE bytes, allocated in full when it is made (writing to a hole of a full file system would kill
the process with SIGBUS). A record is `<u32 little-endian length><marshal version 4>`; length 0 means empty. A writer
zeroes the length, writes the payload, then writes the length, so a torn record reads as empty. Only None, bool, int,
float, str, bytes, tuple, list and dict are packed.
"""

ENV_SOCKET = "DIAG_PROBE_SOCKET"
ENV_LOCALS = "DIAG_LOCALS"
BOX_FOLDER = "bb"
BOX_SUFFIX = ".bb"
BOX_NAME = "%d.%d.bb"  # pid and start ticks, once the agent knows the process

# Link, probe to agent. HELLO carries a marshalled dict: {"v": 1, "box": file name, "pid": own pid in its own
# namespace, "forked": bool}. EVENT carries the u8 index of its ring record. FATAL says that the FATAL record is
# written and that the process waits up to FATAL_WAIT_S for ACK before it goes on dying. STUCK carries the marshalled
# pid of a child, as the sender sees it, that the sender is about to end for being silent; it waits for ACK, too.
# KILL carries the marshalled (pid, signal, [FRAME, ..] of its callers) of an os.kill that comes next.
HELLO = b"\x01"
FATAL = b"\x02"
EVENT = b"\x03"
STUCK = b"\x04"
KILL = b"\x05"
LAST_MESSAGE = 0x0F  # a first byte above this is faulthandler's text
ACK = b"\x06"
FATAL_WAIT_S = 0.04
SEND_TIMEOUT_S = 0.5  # for each blocked write of faulthandler; the guard ends a whole freeze after FREEZE_LIMIT_S
FREEZE_LIMIT_S = 1.8

MAGIC = b"DIAGBB1\n"
SIZE = 266240

# Header: MAGIC at 0, then single bytes and u64 counters (little-endian), then the record HEADER.
STATE_AT = 16
RUNNING, LEFT_CLEANLY, RELINKED, REPLACED = 0, 1, 2, 3  # LEFT_CLEANLY: exit handlers, or os._exit(0)
# RELINKED: the program closed our descriptor; the same process goes on in a new box, which a new HELLO names
# REPLACED: the process became another program (execve); what stands here is the past of its pid
STARTED_AT = 24  # requests started
FINISHED_AT = 32  # requests finished
OVERFLOW_AT = 40  # requests that found no free slot
EVENTS_AT = 48  # events written to the ring, ever
DROPPED_AT = 56  # events not written: over the rate limit, or a hook of ours failed
# HEADER record: {"version": "3.11.7", "implementation": "CPython", "executable", "prefix", "argv": [..],
# "pid": own namespace's pid, "parent_pid", "started": time.time() at install, "forked": bool,
# "faulthandler_fd": the descriptor to which the program itself wants faulthandler's text, or None,
# "timeout_s": in a worker of gunicorn, after which silence its master ends it, or None; "asyncio": True once the
# program has imported it}
HEADER_AT, HEADER_SIZE = 64, 4032

# Requests in flight, one slot each, and the ring of the last finished ones. Record, a tuple:
# (request_id | None, trace_id | None, span_id | None, method, path, started time.time(), native thread id)
# and in the ring also (…, duration_s, status int | None).
SLOTS_AT, SLOT_COUNT, SLOT_SIZE = 4096, 128, 384
RECENT_AT, RECENT_COUNT = 53248, 64

# Ring of events; EVENTS_AT % EVENT_COUNT is the next index. Record: the exception record below.
EVENTS_RING_AT, EVENT_COUNT, EVENT_SIZE = 77824, 8, 12288

# Last look at the heap: {"time": time.time(), "gcCounts": [..], "gcStats": [{..}, ..], "gcThresholds": [..],
# "gcEnabled": bool, "allocatedBlocks": int (exceptions only: it walks every arena)}
HEAP_AT, HEAP_SIZE = 176128, 4096

# The exception that ends the process. Exception record, a dict:
#   {"time": time.time(), "kind": "uncaught" | "thread" | "request" | "unraisable" | "task" | "exit", "tid": native
#    thread id, "exception": EXC, "request": (request_id, trace_id, span_id) | None, "suppressed": events dropped since
#    the last, and, for the FATAL record only: "threads": [(native tid | None, name | None, [FRAME, ..]), ..] of the
#    other threads, "heap": as above}
#   Of the kind "exit", in the FATAL record only, "exception" is a SystemExit with the stack of the call, "call" is
#   "sys.exit" or "os._exit", and "status" what it leaves with: nothing is wrong yet, and it may still be caught.
#   EXC   = {"type", "module", "message", "frames": [FRAME, ..] innermost first, "cause": EXC | None,
#            "context": EXC | None, "exceptions": [EXC, ..], "notes": [str, ..], "cut": int frames left out}
#   FRAME = (function, file, line, module | None, {name: text} | None)
FATAL_AT, FATAL_SIZE = 180224, 81920

# What diag asks: (name in questions.ANSWERS, {argument: value}, abstract socket's name as bytes, without the NUL).
# Answer: (True, value, seconds that the main thread stood still) or (False, "Type: message", seconds).
QUESTION_AT, QUESTION_SIZE = 262144, 4096
ANSWER_TIMEOUT_S = 2.0  # for each write of the answer that finds nobody reading
