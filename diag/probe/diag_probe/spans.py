"""OpenTelemetry: the request's slot names the span that is current, as the application's own SDK says."""

import sys

from .requests import current, prepare


def watch_opentelemetry(session, module, replace):
    """Follow attach and detach, through which every span becomes current and stops being so."""
    prepare(session)
    attach, detach = module.attach, module.detach

    def attach_followed(*args, **kwargs):
        token = attach(*args, **kwargs)
        if current.get() is not None:
            _follow(session)
        return token

    def detach_followed(*args, **kwargs):
        detach(*args, **kwargs)
        if current.get() is not None:
            _follow(session)

    for name, original, followed in (("attach", attach, attach_followed), ("detach", detach, detach_followed)):
        followed.__name__ = followed.__qualname__ = name
        followed.__doc__, followed.__module__, followed.__wrapped__ = original.__doc__, original.__module__, original
        replace(module, name, followed)


def _follow(session):
    """Without a recording span the request keeps the last one it had: that is its outermost, or the caller's."""
    try:
        trace = sys.modules.get("opentelemetry.trace")
        if trace is not None:
            context = trace.get_current_span().get_span_context()
            if context.is_valid:
                current.get().link(format(context.trace_id, "032x"), format(context.span_id, "016x"))
    except Exception:  # the application's tracing goes on
        session.count_dropped()
