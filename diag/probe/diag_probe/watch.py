"""Says when a framework has been imported, and loads the part of the probe that knows it.

The only cost to other imports is one look into a dict.
"""

import sys

# What to call when a module has been imported: part of the probe, function. It gets the session and the module.
WATCHED = {
    "threading": ("hooks", "watch_threading"),
    "multiprocessing.process": ("processes", "watch_multiprocessing"),
    "asyncio.base_events": ("tasks", "watch_asyncio"),
    "gunicorn.arbiter": ("processes", "watch_gunicorn_arbiter"),
    "gunicorn.glogging": ("processes", "watch_gunicorn_log"),
    "gunicorn.workers.base": ("servers", "watch_gunicorn"),
    "gunicorn.workers.gasgi": ("servers", "watch_gunicorn_asgi"),
    "uvicorn.config": ("servers", "watch_uvicorn"),
    "wsgiref.handlers": ("servers", "watch_wsgiref"),
    "werkzeug.serving": ("servers", "watch_werkzeug"),
    "waitress.server": ("servers", "watch_waitress"),
    "flask.app": ("frameworks", "watch_flask"),
    "django.core.handlers.exception": ("frameworks", "watch_django"),
    "opentelemetry.context": ("spans", "watch_opentelemetry"),
}


ABSENT = object()


class Watch:
    """First in sys.meta_path; finds nothing itself, but is told what the others found."""

    def __init__(self, session, own_parts):
        self.session = session
        self.own_parts = own_parts  # {part: object with the functions} for parts that are loaded already
        self.undo = []

    def install(self):
        """Watch from now on, and look after what is imported already."""
        sys.meta_path.insert(0, self)
        for name in [name for name in WATCHED if name in sys.modules]:
            self._look_after(name, sys.modules[name])

    def uninstall(self):
        """Stop watching, and give the frameworks back what was changed in them."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for owner, name, previous in reversed(self.undo):
            if previous is ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, previous)
        self.undo.clear()

    def find_spec(self, name, path=None, target=None):
        """The spec that the other finders have for a watched module, told to call us once; None for all others."""
        if name not in WATCHED:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None) if finder is not self else None
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                self._attach(name, spec.loader)
                return spec
        return None

    def _attach(self, name, loader):
        """Shadow exec_module on this one loader object; it removes itself when it is called."""
        if isinstance(loader, type) or not hasattr(loader, "exec_module") or not hasattr(loader, "__dict__"):
            return

        def exec_module(module):
            del loader.exec_module
            loader.exec_module(module)
            self._look_after(name, module)

        # importlib cuts its own frames out of the traceback of a failed import, and so it must cut this one.
        exec_module.__code__ = exec_module.__code__.replace(co_filename="<frozen importlib._bootstrap>")
        loader.exec_module = exec_module

    def _look_after(self, name, module):
        try:
            part, function = WATCHED[name]
            look_after = getattr(self._part(part), function)
            look_after(self.session, module, self.replace)
        except Exception:  # the framework works on, unwatched
            self.session.count_dropped()

    def _part(self, part):
        if part in self.own_parts:
            return self.own_parts[part]
        return getattr(__import__(__package__, None, None, (part,)), part)

    def replace(self, owner, name, value):
        """Set an attribute of a framework; `uninstall` puts the old one back."""
        self.undo.append((owner, name, owner.__dict__.get(name, ABSENT)))
        setattr(owner, name, value)
