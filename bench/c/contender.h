/*
 * What every contender in C is: a process that runs what a line of its standard input asks, and answers with one line of JSON.
 *
 *   read|write random|sequential BYTES DEPTH COUNT     → {"seconds":1.5,"us":[…]}
 *
 * `us` has the latency of each request. bench/lab-port.mjs is one more of the kind. Any surprise ends the process with status 1.
 */
#pragma once

#include <stdint.h>

struct workload {
  int write, sequential;
  int bytes, depth, count;
};

/* A microsecond clock that does not jump. */
uint64_t now_us(void);
/* Where request number `index` begins, in bytes, on a medium of `size` bytes. */
uint64_t offset_of(const struct workload *workload, int index, uint64_t size);
_Noreturn void die(const char *what, const char *why);

/* Answers lines until the input ends. `run` runs one workload and writes the latency of each request into `us`. */
void serve(void (*run)(void *self, const struct workload *workload, uint32_t *us), void *self);
