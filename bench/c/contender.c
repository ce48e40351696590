#include "contender.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void die(const char *what, const char *why) {
  fprintf(stderr, "contender: %s: %s\n", what, why);
  exit(1);
}

uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t next_random(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

uint64_t offset_of(const struct workload *workload, int index, uint64_t size) {
  const uint64_t slots = size / (uint64_t)workload->bytes;
  return (workload->sequential ? (uint64_t)index : next_random()) % slots * (uint64_t)workload->bytes;
}

static struct workload parse(const char *line) {
  struct workload workload;
  char direction[8], order[16];
  const int fields =
      sscanf(line, "%7s %15s %d %d %d", direction, order, &workload.bytes, &workload.depth, &workload.count);
  if (fields != 5 || workload.bytes < 512 || workload.bytes % 512 != 0 || workload.depth < 1 || workload.count < 1)
    die("no such workload", line);
  workload.write = strcmp(direction, "write") == 0;
  workload.sequential = strcmp(order, "sequential") == 0;
  return workload;
}

void serve(void (*run)(void *self, const struct workload *workload, uint32_t *us), void *self) {
  char line[128];
  while (fgets(line, sizeof line, stdin) != NULL) {
    const struct workload workload = parse(line);
    uint32_t *us = calloc((size_t)workload.count, sizeof *us);
    if (us == NULL) die("latencies", "no memory");
    const uint64_t begin = now_us();
    run(self, &workload, us);
    printf("{\"seconds\":%.6f,\"us\":[", (double)(now_us() - begin) * 1e-6);
    for (int i = 0; i < workload.count; i++) printf(i == 0 ? "%u" : ",%u", us[i]);
    printf("]}\n");
    fflush(stdout);
    free(us);
  }
}
