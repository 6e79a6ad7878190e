"""A Django application; run as a program it is served by Django's runserver's own server, and prints its port."""
import sys

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404, HttpResponse
from django.urls import path
from web_hold import hold

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test", LOGGING_CONFIG=None)
django.setup(set_prefix=False)


def fail(request):
    raise ValueError("no good")  # MARK: raise


def missing(request):
    raise Http404


urlpatterns = [
    path("hold", lambda request: HttpResponse(hold())),
    path("fail", fail),
    path("missing", missing),
    path("", lambda request: HttpResponse("hello")),
]
application = WSGIHandler()

if __name__ == "__main__":
    from django.core.servers.basehttp import WSGIRequestHandler, WSGIServer

    server = WSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(application)
    print(server.server_port, flush=True)
    server.serve_forever()
