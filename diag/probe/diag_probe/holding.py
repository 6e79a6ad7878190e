"""What `with` blocks a frame stands in, and which objects they entered, without running any of the program's code.

A `with` over a plain name (`with lock:`, `with self.pool.lock:`) enters the object that the name leads to. Where the
block begins and ends says the code itself: by SETUP_WITH up to Python 3.10, by the table of exceptions since 3.11.
"""

import sys
from types import GetSetDescriptorType, MemberDescriptorType

_TABLED = sys.version_info >= (3, 11)
_UNIT = 2 if sys.version_info >= (3, 10) else 1  # what jumps are counted in
# The numbers up to 3.10, of 3.11, 3.12 and 3.13: the module `opcode` would have to be read from the disk, and each read
# lets other threads take the interpreter's lock before the program's main thread gets it back.
_NUMBERS = {
    "LOAD_ATTR": (106, 106, 106, 82),
    "LOAD_GLOBAL": (116, 116, 116, 91),
    "LOAD_FAST": (124, 124, 124, 85),
    "LOAD_FAST_CHECK": (None, None, 127, 87),
    "LOAD_DEREF": (136, 137, 137, 84),
    "LOAD_CLASSDEREF": (148, 148, None, None),
    "LOAD_NAME": (101, 101, 101, 92),
    "SETUP_WITH": (143, None, None, None),
    "SETUP_ASYNC_WITH": (154, None, None, None),
    "BEFORE_WITH": (None, 53, 53, 2),
    "BEFORE_ASYNC_WITH": (52, 52, 52, 1),
    "EXTENDED_ARG": (144, 144, 144, 71),
    "CACHE": (None, 0, 0, 0),
    "PUSH_EXC_INFO": (None, 35, 35, 33),
    "WITH_EXCEPT_START": (None, 49, 49, 44),
}
_COLUMN = max(0, sys.version_info[1] - 10)
_NAMES = {row[_COLUMN]: name for name, row in _NUMBERS.items() if _COLUMN < 4 and row[_COLUMN] is not None}
_ENTERS = ("BEFORE_WITH", "BEFORE_ASYNC_WITH")
_FAST = ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_NAME")
_MOST_STEPS = 16
_OF_C = (GetSetDescriptorType, MemberDescriptorType)
_mro = type.__dict__["__mro__"].__get__
_own = type.__dict__["__dict__"].__get__


def attribute(obj, name):
    """The object's attribute as it stands in its dict, its slots or its class; None where code would compute it."""
    for base in _mro(type(obj)):
        if name in _own(base):
            kind = type(_own(base)[name])
            if kind not in _OF_C and any("__get__" in _own(one) for one in _mro(kind)):
                return None
            break
    try:
        return object.__getattribute__(obj, name)
    except AttributeError:
        return None


class Reader:
    """Reads frames for one answer: each code once, however many threads stand in it.

    `lock_of` tells the lock that a `with` over an object holds, or None. `wait` is the code of a condition's wait(),
    which lets go of its lock meanwhile.
    """

    def __init__(self, lock_of, wait):
        self.lock_of = lock_of
        self.wait = wait
        self._known = {}

    def held(self, frames):
        """[(address of the lock, name, function, file, line), ..] of the locks that frames, innermost first, entered
        and have surely not let go of since: who calls `release` may have let go of whatever is held further out.
        """
        found, gone = [], set()
        for frame in frames:
            code = frame.f_code
            known = self._known.get(id(code))
            if known is None:
                known = self._known[id(code)] = ("release" in code.co_names, _Blocks(code) if _enters(code) else None)
            releases, blocks = known
            if code is self.wait:
                gone.add(id(attribute(frame.f_locals.get("self"), "_lock")))
            elif releases:
                break
            if blocks is not None:
                found += self._locks(frame, blocks.around(frame.f_lasti), gone)
        return found

    def _locks(self, frame, entered, gone):
        for names in entered:
            lock = self.lock_of(_value(frame, names))
            if lock is not None and id(lock) not in gone:
                code = frame.f_code
                function = getattr(code, "co_qualname", code.co_name)
                yield id(lock), ".".join(names), function, code.co_filename, frame.f_lineno


class _Blocks:
    """The `with` blocks of a code: where each begins and ends, and the names that lead to what it enters."""

    def __init__(self, code):
        self._code = code
        self._instructions = list(_instructions(code))
        self._table = list(_exceptions(code.co_exceptiontable)) if _TABLED else []
        self._at = {offset: index for index, (offset, _, _) in enumerate(self._instructions)} if _TABLED else {}
        self._spans = [] if _TABLED else self._set_up()
        self._found = {}

    def around(self, at):
        """The names that were entered around this instruction, the innermost first."""
        if at not in self._found:
            entered = (
                self._tabled(at) if _TABLED else [names for first, last, names in self._spans if first < at < last]
            )
            self._found[at] = [names for names in entered if names]
        return self._found[at]

    def _set_up(self):
        found = []
        for index, (offset, name, argument) in enumerate(self._instructions):
            if name in ("SETUP_WITH", "SETUP_ASYNC_WITH"):
                # Of an async block it was entered a few steps before: __aenter__ was waited for.
                entering = index if name == "SETUP_WITH" else self._before(index)
                found.append((offset, offset + 2 + argument * _UNIT, self._expression(entering)))
        return found[::-1]

    def _tabled(self, at):
        found, seen = [], set()
        while True:
            # A handler belongs to the block around: what handles its own exceptions leads outwards.
            target = next((target for start, end, target in self._table if start <= at < end), None)
            if target is None or target in seen or target not in self._at:
                return found
            seen.add(target)
            handler = self._at[target]
            steps = [name for _, name, _ in self._instructions[handler : handler + 2]]
            if steps == ["PUSH_EXC_INFO", "WITH_EXCEPT_START"]:
                first = min(start for start, _, to in self._table if to == target)
                inside = next(index for index, (offset, _, _) in enumerate(self._instructions) if offset >= first)
                found.append(self._expression(self._before(inside - 1)))
            at = target

    def _before(self, index):
        for back in range(index, max(-1, index - _MOST_STEPS), -1):
            if self._instructions[back][1] in _ENTERS:
                return back
        return None

    def _expression(self, entering):
        """The names that lead to what is entered, such as ["self", "lock"]; None where it is no plain name."""
        if entering is None:
            return None
        code, names = self._code, []
        for _, name, argument in reversed(self._instructions[max(0, entering - _MOST_STEPS) : entering]):
            if name == "LOAD_ATTR":
                if sys.version_info >= (3, 12):
                    if argument & 1:
                        return None
                    argument >>= 1
                names.append(code.co_names[argument])
            elif name == "LOAD_GLOBAL":
                names.append(code.co_names[argument >> 1 if _TABLED else argument])
                return names[::-1]
            elif name in _FAST:
                names.append(_local(code, name, argument))
                return names[::-1]
            else:
                return None
        return None


def _enters(code):
    wanted = _ENTERS if _TABLED else ("SETUP_WITH", "SETUP_ASYNC_WITH")
    return any(_NAMES.get(number) in wanted for number in set(code.co_code[::2]))


def _instructions(code):
    """(offset, name, argument) of each instruction."""
    raw, extended = code.co_code, 0
    for offset in range(0, len(raw), 2):
        name, argument = _NAMES.get(raw[offset], ""), raw[offset + 1] | extended
        extended = argument << 8 if name == "EXTENDED_ARG" else 0
        if name not in ("EXTENDED_ARG", "CACHE"):
            yield offset, name, argument


def _exceptions(table):
    """(start, end, target) in bytes; Objects/exception_handling_notes.txt."""
    numbers = iter(table)

    def number(byte):
        value = byte & 63
        while byte & 64:
            byte = next(numbers)
            value = value << 6 | byte & 63
        return value

    for first in numbers:
        start, length, target = number(first), number(next(numbers)), number(next(numbers))
        number(next(numbers))
        yield start * 2, (start + length) * 2, target * 2


def _local(code, name, argument):
    if name == "LOAD_NAME":
        return code.co_names[argument]
    if name.startswith("LOAD_FAST"):
        return code.co_varnames[argument]
    if not _TABLED:
        return (code.co_cellvars + code.co_freevars)[argument]
    cells = tuple(cell for cell in code.co_cellvars if cell not in code.co_varnames)
    return (code.co_varnames + cells + code.co_freevars)[argument]


def _value(frame, names):
    first = names[0]
    value = None
    for scope in (frame.f_locals, frame.f_globals):
        if first in scope:
            value = scope[first]
            break
    for name in names[1:]:
        if value is None:
            return None
        value = attribute(value, name)
    return value
