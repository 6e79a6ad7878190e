"""WSGI: a request is in flight from the call of the application until its response body is closed (PEP 3333)."""

import sys

from .requests import ID_LIMIT, METHOD_LIMIT, PATH_LIMIT, Request, clean, note, trace_parent

REQUEST_ID = ("HTTP_X_REQUEST_ID", "HTTP_X_CORRELATION_ID", "HTTP_X_FC_REQUEST_ID", "HTTP_X_AMZN_REQUESTID")


def wrap(session, app):
    """The application, followed. Where nobody listens it is called as it is."""

    def application(environ, start_response):
        request = _begin(session, environ)
        if request is None:
            return app(environ, start_response)

        def start(status, *rest):
            request.status = _code(status)
            return start_response(status, *rest)

        try:
            result = app(environ, start)
        except BaseException as exc:
            # Without our frame; from Python 3.11 on the bare raise takes it from here, and the program's log has none.
            exc.__traceback__ = exc.__traceback__.tb_next
            _fail(session, request, exc)
            raise
        return _follow(session, request, environ, result)

    application.__wrapped__ = app
    return application


def _begin(session, environ):
    if session.box is None:
        return None
    try:
        return Request(session.box, *_identify(environ))
    except Exception:
        session.count_dropped()
        return None


def _identify(environ):
    request_id = trace_id = span_id = None
    for name in REQUEST_ID:
        if name in environ:
            request_id = clean(environ[name], ID_LIMIT)
            break
    if "HTTP_TRACEPARENT" in environ:
        trace_id, span_id = trace_parent(environ["HTTP_TRACEPARENT"].strip())
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if not path.isascii():
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")  # PEP 3333: bytes in disguise
    method = clean(environ.get("REQUEST_METHOD", ""), METHOD_LIMIT)
    return request_id, trace_id, span_id, method or "", clean(path, PATH_LIMIT) or "/"


def _code(status):
    code = status[:3] if isinstance(status, str) else ""
    return int(code) if code.isdigit() else None


def _fail(session, request, exc):
    try:
        if isinstance(exc, Exception):
            note(session, exc, request)
        request.finish()
    except Exception:
        session.count_dropped()


def _follow(session, request, environ, result):
    """The result as it is where servers look at what it is; otherwise one that says when it is closed."""
    try:
        if hasattr(result, "__len__") or _is_file(environ.get("wsgi.file_wrapper"), result):
            request.finish()
            return result
        return Body(session, request, result)
    except Exception:
        session.count_dropped()
        return result


def _is_file(wrapper, result):
    return isinstance(wrapper, type) and isinstance(result, wrapper)


class Body:
    """A response body that ends its request when the server closes it. Iterating is the original's own business."""

    def __init__(self, session, request, result):
        self._diag = session, request
        self._result = result
        self._before = sys.exc_info()[1]

    def __iter__(self):
        return iter(self._result)

    def __getattr__(self, name):
        return getattr(self._result, name)

    def close(self):
        """Finish the request, and close the original."""
        session, request = self._diag
        try:
            _end(session, request, sys.exc_info()[1], self._before)
        finally:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()


def _end(session, request, exc, before):
    """Servers close the body while they treat what it raised. An OSError is the client's going away."""
    try:
        if isinstance(exc, Exception) and exc is not before and not isinstance(exc, OSError):
            note(session, exc, request)
        request.finish()
    except Exception:
        session.count_dropped()
