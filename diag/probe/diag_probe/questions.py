"""Hears that diag has a question. What it takes to answer is imported only then."""

import _signal

from .fault import disguise


class Questions:
    """SIGURG, where the program leaves it alone: everybody ignores it, so one that comes too late does nothing."""

    def __init__(self, session):
        self.session = session
        self._hear = disguise(self.hear, _nobody)

    def install(self):
        """Listen from now on; not in a sub-interpreter, and not where the signal is taken."""
        if _signal.getsignal(_signal.SIGURG) is _signal.SIG_DFL:
            try:
                _signal.signal(_signal.SIGURG, self._hear)
            except ValueError:
                pass  # no main thread here, so no signals either

    def uninstall(self):
        """Stop listening, unless the program has taken the signal for itself."""
        if _signal.getsignal(_signal.SIGURG) is self._hear:
            _signal.signal(_signal.SIGURG, _signal.SIG_DFL)

    def hear(self, number, frame):
        """The signal's handler, on the main thread, between two instructions of the program."""
        try:
            from .answering import answer

            answer(self.session, frame)
        except Exception as exc:
            if of_the_program(exc):
                raise
            self.session.count_dropped()


def _nobody(signum, frame):
    """What the handler looks like."""


def of_the_program(exc):
    """Whether it came out of another signal's handler, which ran while we answered: a program's own time-out, say."""
    handlers = [_signal.getsignal(number) for number in range(1, _signal.NSIG) if number != _signal.SIGURG]
    functions = [getattr(handler, "__func__", handler) for handler in handlers]
    functions += [getattr(type(handler), "__call__", None) for handler in handlers]
    codes = {getattr(function, "__code__", None) for function in functions} - {None}
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code not in codes:
        tb = tb.tb_next
    return tb is not None
