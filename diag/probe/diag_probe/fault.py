"""The freeze frame: CPython's faulthandler writes to the link, and blocks there while the agent looks.

A program that uses faulthandler itself sees what it asked for. Only one descriptor can be registered, and that one
stays ours; the box's header says which one the program wanted, and the agent writes the text there too.
"""

import faulthandler
import sys


class Faults:
    """faulthandler's switch, shared between the program and us."""

    def __init__(self, session):
        self.session = session
        self.real = (faulthandler.enable, faulthandler.disable, faulthandler.is_enabled)
        # Enabled before us by -X faulthandler or PYTHONFAULTHANDLER: those mean stderr's descriptor.
        self.wanted = (2, True, None) if faulthandler.is_enabled() else None
        session.on_new_link = self.point_at_link
        self._announce()

    def point_at_link(self):
        """Register the link's descriptor, or where there is none what the program wanted."""
        enable, disable, _ = self.real
        link = self.session.link
        if link is not None:
            enable(file=link.fd, all_threads=self.wanted is None or self.wanted[1])
        elif self.wanted is None:
            disable()
        else:
            enable(file=self.wanted[0], all_threads=self.wanted[1])

    def install(self):
        """Freeze from now on, and stand between the program and faulthandler's switch."""
        self.point_at_link()
        faulthandler.enable = disguise(self.enable, self.real[0])
        faulthandler.disable = disguise(self.disable, self.real[1])
        faulthandler.is_enabled = disguise(self.is_enabled, self.real[2])

    def uninstall(self):
        """Give faulthandler back as the program wants it."""
        faulthandler.enable, faulthandler.disable, faulthandler.is_enabled = self.real
        self.session.close()
        self.point_at_link()

    def enable(self, *args, **kwargs):
        """faulthandler.enable: the real one first, for its errors; then ours again."""
        self.real[0](*args, **kwargs)
        file = args[0] if args else kwargs.get("file", sys.stderr)
        if file is None:
            file = sys.stderr
        all_threads = args[1] if len(args) > 1 else kwargs.get("all_threads", True)
        # The file is kept, as faulthandler keeps it: its descriptor must not be closed under us.
        self.wanted = (file if isinstance(file, int) else file.fileno(), bool(all_threads), file)
        self._announce()
        if self.session.link is not None:
            self.point_at_link()

    def disable(self):
        """faulthandler.disable: whether the program had it enabled."""
        was_wanted, self.wanted = self.wanted is not None, None
        self._announce()
        if self.session.link is None:
            self.real[1]()
        return was_wanted

    def is_enabled(self):
        """faulthandler.is_enabled, as far as the program is concerned."""
        return self.wanted is not None

    def _announce(self):
        self.session.set_header("faulthandler_fd", self.wanted[0] if self.wanted else None)


def disguise(method, real):
    """A function that calls the method and looks like the real one."""

    def function(*args, **kwargs):
        return method(*args, **kwargs)

    function.__name__ = function.__qualname__ = real.__name__
    function.__module__, function.__doc__ = real.__module__, real.__doc__
    return function
