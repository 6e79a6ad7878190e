/* Dies of the fault that its argument names, with a thread beside the main one. */
#include "real_faults.c"
#include <signal.h>
#include <unistd.h>

static pthread_barrier_t both;

static void *idle(void *nothing)
{
    pthread_barrier_wait(&both);
    pause();
    return nothing;
}

__attribute__((noinline)) static int price_of(int *item) { return *item + 1; }

int main(int count, char **words)
{
    pthread_t thread;
    const char *how = count > 1 ? words[1] : "null";
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&thread, NULL, idle, NULL);
    pthread_barrier_wait(&both);
    if (!strcmp(how, "wild"))
        fault_wild_write();
    if (!strcmp(how, "overflow"))
        return fault_stack_overflow();
    if (!strcmp(how, "divide"))
        return fault_divide();
    if (!strcmp(how, "illegal"))
        fault_illegal();
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "sent"))
        kill(getpid(), SIGSEGV), pause();
    return price_of(NULL);
}
