"""What Go and eu-stack print, as threads."""

from __future__ import annotations

from diag.collectors import eu_stack, go_stacks
from diag.evidence import Frame

GO = """goroutine 1 [IO wait, 5 minutes, locked to thread]:
net.(*netFD).accept(0xc00012e000)
	/usr/lib/go/src/net/fd_unix.go:172 +0x35
main.main()
	/srv/shop/main.go:12 +0x1d

goroutine 7 gp=0xc0000 m=nil [chan receive]:
main.(*Shop).take(...)
	/srv/shop/main.go:4
created by main.main in goroutine 1
	/srv/shop/main.go:8 +0x9a

goroutine 8 [running]:
runtime/pprof.writeGoroutineStacks({0x7f, 0xc0})
	/usr/lib/go/src/runtime/pprof/pprof.go:692 +0x6a

goroutine 9 [running]:
	goroutine running on other thread; stack unavailable
created by main.main
	/srv/shop/main.go:9 +0x9a
"""

EU_STACK = """PID 12 - process
TID 12:
#0  0x00007f0b0706bf16 __futex_wait@@GLIBC_2.34 - /usr/lib/libc.so.6
    ./nptl/futex-internal.c:57:12
#1  0x000055e775e1d272 shop::charge(int, char const*) - /srv/shop
    /srv/my code/shop.cc:8
#2  0x000055e775e1d0d1
TID 13:
#0  0x00007f0b0706c12b poll
"""


def test_goroutines_say_what_they_wait_for() -> None:
    """State, since when, arguments left out, who created it; the one that answers us is left out."""
    one, other, busy = go_stacks.parse(GO)

    assert one.waiting is not None
    assert (one.thread_id, one.waiting.kind, one.waiting.what) == (1, "socket", "IO wait for 5 minutes")
    assert one.frames[1] == Frame("main.main", "/srv/shop/main.go", 12, language="go")
    assert other.waiting is not None and other.waiting.what == "chan receive"
    assert [frame.function for frame in other.frames] == ["main.(*Shop).take", "created by main.main"]
    assert (busy.name, busy.state, busy.waiting) == ("goroutine 9", "running", None)
    assert [frame.function for frame in busy.frames] == ["created by main.main"]


def test_native_stacks_with_and_without_sources() -> None:
    """Versions of symbols are left out, and an address stands where there is no name."""
    one, other = eu_stack.parse(EU_STACK)

    assert [frame.function for frame in one.frames] == [
        "__futex_wait",
        "shop::charge(int, char const*)",
        "0x000055e775e1d0d1",
    ]
    assert (one.frames[1].file, one.frames[1].line) == ("/srv/my code/shop.cc", 8)
    assert one.frames[1].module == "/srv/shop"
    assert (other.thread_id, other.frames[0].function, other.frames[0].address) == (13, "poll", 0x7F0B0706C12B)
