"""A WSGI application that makes OpenTelemetry spans of its own; says their ids in its answer."""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from web_hold import hold

trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer(__name__)


def ids(span):
    context = span.get_span_context()
    return "%032x %016x\n" % (context.trace_id, context.span_id)


def application(environ, start_response):
    with tracer.start_as_current_span("outer") as outer:
        with tracer.start_as_current_span("inner") as inner:
            if environ["PATH_INFO"] == "/fail":
                raise ValueError("no good")
            hold()
        text = ids(outer) + ids(inner)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
