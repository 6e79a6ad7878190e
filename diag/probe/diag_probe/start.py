"""Installs the probe, follows it into forks, and takes it out again."""

import os

from . import layout
from .exits import Exits
from .fault import Faults, disguise
from .hooks import Hooks, unseen_exception
from .questions import Questions
from .session import Session
from .watch import Watch

installed = None


class Probe:
    """Everything that is installed in this process."""

    def __init__(self, session):
        self.session = session
        self.faults = Faults(session)
        self.hooks = Hooks(session)
        self.exits = Exits(session, unseen_exception)
        self.questions = Questions(session)
        self.watch = Watch(session, {"hooks": self.hooks})
        self._closerange = os.closerange

    def install(self):
        """Start looking. The agent is linked already."""
        self.faults.install()
        self.hooks.install()
        self.exits.install()
        self.watch.install()
        self.questions.install()
        os.closerange = disguise(self.closerange, self._closerange)
        os.register_at_fork(after_in_child=self.after_fork)

    def closerange(self, *bounds):
        """os.closerange, with which daemons close whatever is open; then link again."""
        self._closerange(*bounds)
        try:
            self.session.renew()
        except Exception:
            self.session.count_dropped()

    def after_fork(self):
        """The child speaks for itself: a link and a box of its own, or none at all."""
        if self.session is None:
            return
        try:
            self.session.close()
            self.session.open(forked=True)
        except Exception:
            self.session.close()
        self.faults.point_at_link()

    def uninstall(self):
        """Take everything out again. A fork hook cannot be taken out; it finds nothing to do."""
        os.closerange = self._closerange
        self.questions.uninstall()
        self.watch.uninstall()
        self.exits.uninstall()
        self.hooks.uninstall()
        self.faults.uninstall()
        self.session = None


def install():
    """The installed Probe, or None where no agent is there: then nothing of ours stays."""
    global installed
    session = Session(os.environ[layout.ENV_SOCKET], os.environ.get(layout.ENV_LOCALS) == "1")
    if not session.open(forked=False):
        session.close()
        return None
    probe = Probe(session)
    try:
        probe.install()
    except Exception:
        probe.uninstall()
        raise
    installed = probe
    return probe


def retire():
    """Take the probe out of a `diag` that another one watches: what it does and forks is not the instance's."""
    if installed is not None and installed.session is not None:
        if installed.session.box is not None:
            installed.session.box.mark(layout.LEFT_CLEANLY)
        installed.uninstall()
