"""ASGI: a request is in flight while the application's coroutine runs; `lifespan` is left alone."""

from .requests import ID_LIMIT, METHOD_LIMIT, PATH_LIMIT, Request, clean, note, trace_parent

REQUEST_ID = (b"x-request-id", b"x-correlation-id", b"x-fc-request-id", b"x-amzn-requestid")
WANTED = frozenset(REQUEST_ID + (b"traceparent",))
STATUS = {"http.response.start": None, "websocket.accept": 101, "websocket.close": 403}


def wrap(session, app):
    """The application, followed. Where nobody listens it is called as it is."""

    async def application(scope, receive, send):
        request = _begin(session, scope)
        if request is None:
            return await app(scope, receive, send)

        def tell(message):
            _see(request, message)
            return send(message)

        try:
            result = await app(scope, receive, tell)
        except BaseException as exc:
            # Without our frame; from Python 3.11 on the bare raise takes it from here, and the program's log has none.
            exc.__traceback__ = exc.__traceback__.tb_next
            _finish(session, request, exc)
            raise
        _finish(session, request, None)
        return result

    application.__wrapped__ = app
    return application


def _begin(session, scope):
    if session.box is None:
        return None
    try:
        if scope["type"] not in ("http", "websocket"):
            return None
        return Request(session.box, *_identify(scope))
    except Exception:
        session.count_dropped()
        return None


def _identify(scope):
    found = {name: value for name, value in scope["headers"] if name in WANTED}
    request_id = trace_id = span_id = None
    for name in REQUEST_ID:
        if name in found:
            request_id = clean(found[name].decode("latin-1"), ID_LIMIT)
            break
    if b"traceparent" in found:
        trace_id, span_id = trace_parent(found[b"traceparent"].decode("latin-1").strip())
    method = clean(scope.get("method") or "WEBSOCKET", METHOD_LIMIT)
    return request_id, trace_id, span_id, method or "", clean(scope["path"], PATH_LIMIT) or "/"


def _see(request, message):
    try:
        kind = message["type"]
        if kind in STATUS and request.status is None:
            request.status = STATUS[kind] or int(message["status"])
    except Exception:
        pass  # the server says what is wrong with this message


def _finish(session, request, exc):
    try:
        if isinstance(exc, Exception):
            note(session, exc, request)
        request.finish()
    except Exception:
        session.count_dropped()
