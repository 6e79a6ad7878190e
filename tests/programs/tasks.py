"""An asyncio task raises and nobody asks for its result."""
import asyncio
import gc


async def work():
    raise RuntimeError("nobody asked")  # MARK: raise


async def main():
    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()


asyncio.run(main())
