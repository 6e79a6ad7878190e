/* Real faults, one a function: what the processor and the kernel report, and not what a signal sender does. */
#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

void fault_halt(void) { __asm__ volatile("hlt"); }

/* A page of a mapped file that lies beyond the file's end. */
void fault_bus(void)
{
    FILE *file = tmpfile();
    mmap(BUS_ADDRESS, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fileno(file), 0);
    *(volatile char *)(BUS_ADDRESS + 4096) = 1;
}

void fault_read_only(void) { *(volatile char *)(uintptr_t)"constant" = 1; }

/* Each call has a frame of 1 KiB that the compiler may not leave out. */
int fault_stack_overflow(void)
{
    volatile char frame[1024];
    frame[0] = 1;
    return fault_stack_overflow() + frame[0];
}

void fault_double_free(void)
{
    void *volatile memory = malloc(2000), *volatile again = memory;
    free(memory);
    free(again);
}

void fault_heap_overflow(void)
{
    char *memory = malloc(2000), *behind = malloc(2000);
    volatile size_t more = 2100;
    memset(memory, 'x', more);
    free(behind);
    free(memory);
}

void __attribute__((optimize("stack-protector-all"))) fault_stack_smash(void)
{
    char buffer[8];
    volatile size_t more = 64;
    memset(buffer, 'x', more);
}

void fault_assert(void) { assert(BUS_ADDRESS == NULL); }

void fault_abort(void) { abort(); }

static void *in_foreign_thread(void *unused)
{
    fault_null_read();
    return unused;
}

/* A thread that Python has never heard of. */
void fault_foreign_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, in_foreign_thread, NULL);
    pthread_join(thread, NULL);
}

void fault_spin(void)
{
    for (volatile int forever = 1; forever;)
        ;
}
