/* Computes for ever, without frame pointers where the compiler leaves them out. */
#include <stdio.h>

volatile unsigned sum;

__attribute__((noinline)) void hottest(unsigned count) {
    for (unsigned number = 0; number < count; number++) sum += number * number;
}

__attribute__((noinline)) void turn(void) {
    hottest(100000);
    sum++;
}

int main(void) {
    puts("ready");
    fflush(stdout);
    for (;;) turn();
}
