"""Exceptions that a framework turns into a response of status 500, so that no server ever sees them."""

from .requests import note, prepare


def watch_flask(session, module, replace):
    """Flask.handle_exception gets what no error handler of the application took."""
    prepare(session)
    handle = module.Flask.handle_exception

    def handle_exception(self, e):
        _note(session, e)
        return handle(self, e)

    _replace_method(module.Flask, handle_exception, handle, replace)


def watch_django(session, module, replace):
    """handle_uncaught_exception makes Django's 500 page."""
    prepare(session)
    handle = module.handle_uncaught_exception

    def handle_uncaught_exception(request, resolver, exc_info):
        _note(session, exc_info[1])
        return handle(request, resolver, exc_info)

    _replace_method(module, handle_uncaught_exception, handle, replace)


def _note(session, exc):
    try:
        note(session, exc)
    except Exception:  # the response is the same without us
        session.count_dropped()


def _replace_method(owner, function, original, replace):
    function.__doc__, function.__module__ = original.__doc__, original.__module__
    function.__qualname__, function.__wrapped__ = original.__qualname__, original
    replace(owner, original.__name__, function)
