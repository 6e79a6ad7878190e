"""A Flask application."""
from flask import Flask, abort
from web_hold import hold

application = Flask(__name__)


@application.get("/hold")
def held():
    return hold()


@application.get("/fail")
def fail():
    raise ValueError("no good")  # MARK: raise


@application.get("/missing")
def missing():
    abort(404)


@application.get("/")
def index():
    return "hello"


if __name__ == "__main__":
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, application)
    print(server.server_port, flush=True)
    server.serve_forever()
