/* Real faults, one a function: what the processor and the kernel report, and not what a signal sender does. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define BUS_ADDRESS ((char *)0x7e0000000000)

int fault_null_read(void) { return *(volatile int *)0; }

void fault_wild_write(void) { *(volatile int *)0x1234567000 = 1; }

void fault_non_canonical(void) { *(volatile int *)0xdead000000000000 = 1; }

void fault_null_call(void) { ((void (*)(void))(volatile uintptr_t)0)(); }

int fault_divide(void)
{
    volatile int amount = 42, zero = 0;
    return amount / zero;
}

void fault_illegal(void) { __asm__ volatile("ud2"); }

/* A page of a mapped file that lies beyond the file's end. */
void fault_bus(void)
{
    FILE *file = tmpfile();
    mmap(BUS_ADDRESS, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fileno(file), 0);
    *(volatile char *)(BUS_ADDRESS + 4096) = 1;
}
