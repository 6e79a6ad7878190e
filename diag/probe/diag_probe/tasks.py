"""Exceptions that end nowhere in asyncio: tasks whose result nobody asks for, and callbacks that raise."""


def watch_asyncio(session, module, replace):
    """BaseEventLoop.call_exception_handler is where asyncio reports them."""
    call = module.BaseEventLoop.call_exception_handler

    def call_exception_handler(self, context):
        _note(session, context)
        return call(self, context)

    call_exception_handler.__doc__, call_exception_handler.__module__ = call.__doc__, call.__module__
    call_exception_handler.__qualname__, call_exception_handler.__wrapped__ = call.__qualname__, call
    replace(module.BaseEventLoop, "call_exception_handler", call_exception_handler)
    session.set_header("asyncio", True)


def _note(session, context):
    try:
        exc = context.get("exception")
        if isinstance(exc, Exception):
            session.note("task", exc, exc.__traceback__)
    except Exception:  # asyncio's own report follows
        session.count_dropped()
