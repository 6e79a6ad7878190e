"""Has objects that resist being counted, has them counted with the limits it is given, and writes the answer as JSON."""
import asyncio  # before 3.10 one of its own types was never made ready
import json
import sys

sys.path.insert(0, sys.argv[1])
from diag_probe import census  # noqa: E402


class Meta(type):
    def __hash__(cls):
        raise SystemExit("hash")

    def __eq__(cls, other):
        raise SystemExit("eq")

    @property
    def __name__(cls):
        raise SystemExit("name")

    __mro__ = __flags__ = __module__ = __name__


class Hostile(metaclass=Meta):
    def __sizeof__(self):
        raise SystemExit("sizeof")

    @property
    def __class__(self):
        raise SystemExit("class")

    def __len__(self):
        raise SystemExit("len")


class Large(list):
    def __len__(self):
        raise SystemExit("len")


class Unused:
    pass


loop = asyncio.new_event_loop()
loop.call_soon(asyncio.get_running_loop)
loop.call_soon(loop.stop)
loop.run_forever()
kept = [Hostile() for _ in range(10)]
large = Large(range(100000))
texts = {number: ["text %d" % number] for number in range(5000)}
again = [list(texts.values()), list(texts.values())]  # each text has three ways to it
inside = (("a tuple of %d" % 1, b"bytes of %d" % 2, 1.5 + len(kept)),)  # nothing in it is tracked
limits = {"objects": int(sys.argv[2]), "seconds": float(sys.argv[3]), "rows": 5000}
json.dump(census.answer(None, limits), sys.stdout)
