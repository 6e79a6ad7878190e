"""Holds secrets where a report could look for them, and waits until its standard input ends.

usage: secret_locals.py --password VALUE
"""
import os
import sys


def checkout():
    password = "planted-in-a-local"
    note = "postgres://shop:planted-in-a-url@db/shop"
    amount = 41
    said = os.environ.get("API_TOKEN")
    print("ready", flush=True)
    sys.stdin.read()  # MARK: wait
    return password, note, amount, said


checkout()
