"""A small shop: an ordinary Flask application that knows nothing of `diag`. Some of its orders go wrong."""

from __future__ import annotations

import ctypes
import socket
import time
from typing import Any

from flask import Flask, jsonify, request

app = Flask(__name__)
PRICES = {"tea": 4, "cup": 9, "pot": 31}


@app.get("/")
def index() -> Any:
    """What is for sale."""
    return jsonify(PRICES)


@app.get("/checkout/<item>")
def checkout(item: str) -> Any:
    """The price of an order; an item that is not for sale raises KeyError."""
    return jsonify(item=item, total=PRICES[item] * request.args.get("count", 1, type=int))


@app.get("/label/<item>")
def label(item: str) -> Any:
    """Print a label with a native library that is handed a NULL pointer."""
    return jsonify(item=item, label=print_label(item, template=0))


@app.get("/slow")
def slow() -> Any:
    """An order that takes its time."""
    time.sleep(request.args.get("seconds", 1.0, type=float))
    return jsonify(done=True)


@app.get("/pay/<item>")
def pay(item: str) -> Any:
    """Pay an order, at a bank that takes the question and never answers."""
    return jsonify(item=item, paid=ask_the_bank(item))


def ask_the_bank(item: str) -> str:
    """What the bank says; there is no time-out."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(item.encode())
        return ours.recv(100).decode()


def print_label(item: str, template: int) -> str:
    """Copy the template; the library reads from address 0."""
    return item + ctypes.string_at(template).decode()
