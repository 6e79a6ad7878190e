"""Dies of a MemoryError with its address space full to the brim."""
import resource

hoard = []
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (32 << 20), size + (32 << 20)))
block = 1 << 20
while True:
    try:
        hoard.append(bytearray(block))  # MARK: raise
    except MemoryError:
        if block < 64:
            raise
        block //= 2
