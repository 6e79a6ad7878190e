"""Tasks that await each other in every way that asyncio has; `rings` for ever, `free` only for a while."""
import asyncio
import sys


async def leaf():
    await asyncio.sleep(1000)  # MARK: leaf


async def middle():
    await leaf()  # MARK: middle


async def generate():
    yield 1
    await asyncio.sleep(1000)
    yield 2


async def iterate():
    async for _ in generate():
        pass


async def gathered():
    await asyncio.gather(leaf(), middle())


async def limited(work):
    await asyncio.wait_for(work, 1000)


async def shielded(task):
    await asyncio.shield(task)


async def waited(task):
    await asyncio.wait([task])


async def grouped():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf()).set_name("member")


async def both(first, second):
    async with first:
        await asyncio.sleep(0.01)
        async with second:
            pass


async def await_other(tasks, name):
    await asyncio.sleep(0.01)
    await tasks[name]


async def await_both(tasks, name):
    await asyncio.sleep(0.01)
    await asyncio.gather(tasks[name], leaf())


def named(name, coroutine):
    task = asyncio.ensure_future(coroutine)
    task.set_name(name)
    return task


def every_way():
    found = [named("middle", middle()), named("iterate", iterate()), named("gathered", gathered())]
    found += [named("limited", limited(leaf())), named("shielded", shielded(found[0]))]
    found += [named("waited", waited(found[0])), named("queue", asyncio.Queue().get())]
    if sys.version_info >= (3, 11):
        found.append(named("grouped", grouped()))
    return found


async def main():
    tasks = {}
    kept = [every_way(), tasks]
    one, other = asyncio.Lock(), asyncio.Lock()
    if sys.argv[1] == "rings":
        kept += [named("here", both(one, other)), named("there", both(other, one))]
        tasks.update(ping=named("ping", await_other(tasks, "pong")), pong=named("pong", await_other(tasks, "ping")))
    else:
        kept += [named("here", limited(both(one, other))), named("there", limited(both(other, one)))]
        tasks.update(ping=named("ping", await_both(tasks, "pong")), pong=named("pong", await_both(tasks, "ping")))
    await asyncio.sleep(0.2)
    print("ready", flush=True)
    await asyncio.get_event_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.sleep(0 * len(kept))


asyncio.run(main())
