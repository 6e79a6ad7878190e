"""What can go wrong, as types: each says what failed, with what exit code, and what to do next."""

from __future__ import annotations


class DiagError(Exception):
    """A failure that the user can act on. Only the CLI prints it and exits with `exit_code`."""

    exit_code = 1
    help_text = ""

    def __init__(self, message: str, help_text: str | None = None) -> None:
        super().__init__(message)
        if help_text is not None:
            self.help_text = help_text


class UsageError(DiagError):
    """The command line or a setting says something that cannot be done."""

    exit_code = 2
    help_text = "`diag COMMAND --help` shows what can be said."


class BadSetting(UsageError):
    """A setting has a value that cannot be used; the message names where it was set."""

    help_text = "Correct the value, or remove it to use the default (docs/settings.md)."


class NoSuchInstance(DiagError):
    """No process answers to this name or pid."""

    help_text = "`diag ps` lists the instances on this machine."


class NoSuchCapture(DiagError):
    """No capture has this id."""

    help_text = "`diag ls` lists the captures, newest first."


class CannotAttach(DiagError):
    """The kernel does not let this user read that process."""

    exit_code = 3
    help_text = "Run as the same user, or add CAP_SYS_PTRACE (docker: --cap-add=SYS_PTRACE)."


class ToolMissing(DiagError):
    """A program that this capture needs is not installed."""

    exit_code = 4


class WrongEngine(UsageError):
    """The engine that was asked for cannot do this on this process; another may."""

    help_text = "Say another --engine, or leave it out: `auto` takes one that works."


class WrongRuntime(WrongEngine):
    """The engine is for processes of another make."""


class Busy(DiagError):
    """Another capture that touches this process is under way."""

    help_text = "Wait until it has ended, and ask again."


class NotACore(DiagError):
    """The file is no core file that can be read."""

    help_text = "Name the file that the kernel, systemd-coredump or gcore wrote (`file PATH` says what it is)."


class ToolFailed(DiagError):
    """A program that this capture ran ended with an error or ran out of time."""


class NotExecuted(DiagError):
    """The command was not started: it is not there (127) or cannot be executed (126), as a shell says it."""

    NOT_EXECUTABLE = 126
    exit_code = 127
    help_text = "With --host-tools it is taken from this machine, and looks at the instance from inside."


class NotUploaded(DiagError):
    """Captured and safe in the spool, but not stored yet."""

    exit_code = 5
    help_text = "Nothing is lost: `diag flush` tries again, and so does the next diag that runs."


class SpoolUnwritable(DiagError):
    """The spool cannot take a capture: full, read-only, or not ours."""

    help_text = "Free some space, or point DIAG_SPOOL at a folder that can be written."


class CorruptCapture(DiagError):
    """A capture's files do not match its manifest."""


class BadProfile(DiagError):
    """This is no profile that can be read; the message says where it goes wrong."""

    help_text = "Known are pprof, speedscope, collapsed stacks, MOJO and others (docs/profiles.md)."


class NotRedacted(DiagError):
    """A capture may hold secrets: its redaction did not finish, and nobody can make up for it."""

    help_text = "It is never sent. It stays in the spool's quarantine folder; look at it there, and remove it."


class StoreError(DiagError):
    """The store said no, or something unexpected. `retry` tells whether trying again can help."""

    retry = False
    retry_after_s: float | None = None  # where the store says how long to wait


class StoreUnreachable(StoreError):
    """The store did not answer; the capture waits in the spool."""

    exit_code = 5
    retry = True
    help_text = "Check DIAG_STORE and the network; captures wait in the spool and `diag flush` sends them."


class StoreRefused(StoreError):
    """The store does not accept our credentials."""

    exit_code = 3
    help_text = "Set DIAG_TOKEN to a token with the role `agent` (see `diag serve --tokens`)."


class StoreConflict(StoreError):
    """The key exists already with other bytes: objects are immutable."""


class StoreRejected(StoreError):
    """The store will never take this object: wrong bytes, a bad manifest, or too large."""

    help_text = "The capture stays in the spool's quarantine folder, with the reason beside it."


class StoreHeld(StoreError):
    """The store has to keep this object: a retention period or a legal hold is on it."""

    help_text = "It can go when the hold ends; the store's own console shows and lifts holds."


class NoSuchObject(StoreError):
    """The store has nothing under this key."""
