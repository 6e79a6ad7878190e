/* Two threads take two mutexes in turn, and a third joins one of them. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t started;

static void take(pthread_mutex_t *first, pthread_mutex_t *second) {
    pthread_mutex_lock(first);
    pthread_barrier_wait(&started);
    pthread_mutex_lock(second);
}

static void *here(void *nothing) { take(&one, &other); return nothing; }
static void *there(void *nothing) { take(&other, &one); return nothing; }

int main(void) {
    pthread_t threads[2];
    pthread_barrier_init(&started, NULL, 2);
    pthread_create(&threads[0], NULL, here, NULL);
    pthread_create(&threads[1], NULL, there, NULL);
    puts("ready");
    fflush(stdout);
    pthread_join(threads[0], NULL);
    return 0;
}
