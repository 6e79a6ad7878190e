"""Where each server keeps its application. Nothing of ours stands in the stack while a server starts."""

from . import asgi, wsgi
from .requests import prepare

# gunicorn's own workers that speak WSGI. Other projects' speak ASGI, tornado's asks what class the application is.
WSGI_WORKERS = frozenset("gunicorn.workers." + name for name in ("sync", "gthread", "ggevent", "geventlet"))


class Assigned:
    """Lets us look when an attribute is assigned. With no __get__, reading finds the instance's own value as before."""

    def __init__(self, name, look):
        self.name = name
        self.look = look

    def __set__(self, instance, value):
        instance.__dict__[self.name] = self.look(instance, value)

    def __delete__(self, instance):
        try:
            del instance.__dict__[self.name]
        except KeyError:
            raise AttributeError(self.name) from None


def _on_assignment(owner, name, look, replace):
    if name not in owner.__dict__:
        replace(owner, name, Assigned(name, look))


def watch_gunicorn(session, module, replace):
    """gunicorn's workers: `load_wsgi` assigns `self.wsgi`, in those that speak ASGI, too."""
    prepare(session)

    def look(worker, app):
        _note_timeout(session, worker)
        own = any(kind.__module__ in WSGI_WORKERS for kind in type(worker).__mro__)
        return wsgi.wrap(session, app) if own and callable(app) else app

    _on_assignment(module.Worker, "wsgi", look, replace)


def _note_timeout(session, worker):
    """After how many seconds of silence the master ends this worker; None where it does not."""
    try:
        session.set_header("timeout_s", float(worker.cfg.timeout) or None)
    except Exception:
        session.count_dropped()


def watch_gunicorn_asgi(session, module, replace):
    """gunicorn's own ASGI worker: `load_wsgi` assigns `self.asgi`."""
    prepare(session)

    def look(worker, app):
        _note_timeout(session, worker)
        return asgi.wrap(session, app)

    _on_assignment(module.ASGIWorker, "asgi", look, replace)


def watch_uvicorn(session, module, replace):
    """uvicorn: `Config.load` builds `loaded_app` in steps and assigns `loaded` last."""
    prepare(session)

    def look(config, loaded):
        if loaded:
            config.loaded_app = asgi.wrap(session, config.loaded_app)
        return loaded

    _on_assignment(module.Config, "loaded", look, replace)


def watch_wsgiref(session, module, replace):
    """wsgiref, and so Django's runserver: every request goes through `BaseHandler.run`."""
    prepare(session)
    run = module.BaseHandler.run

    def run_followed(self, application):
        return run(self, wsgi.wrap(session, application))

    run_followed.__name__, run_followed.__qualname__ = run.__name__, run.__qualname__
    replace(module.BaseHandler, "run", run_followed)


def watch_werkzeug(session, module, replace):
    """werkzeug's development server, and so `flask run`."""
    prepare(session)
    _on_assignment(module.BaseWSGIServer, "app", lambda server, app: wsgi.wrap(session, app), replace)


def watch_waitress(session, module, replace):
    """waitress: its channels call the server's `application`."""
    prepare(session)
    _on_assignment(module.BaseWSGIServer, "application", lambda server, app: wsgi.wrap(session, app), replace)
