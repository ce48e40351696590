/*
 * What the kernel costs here: prints one line of JSON with the microseconds of a system call that does nothing, of a clock reading, of
 * the first touch of a page of memory, and of waking another process and being woken by it (two switches).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contender.h"

enum { TIMES = 2000, PAGE_BYTES = 4096 };

static void call(void) { syscall(SYS_getppid); }

static void read_clock(void) { now_us(); }

static void touch(void) {
  static volatile char *memory;
  static int page;
  if (memory == NULL) memory = mmap(NULL, (size_t)TIMES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap", "no memory");
  memory[page++ * PAGE_BYTES] = 1;
}

static int to_other[2], from_other[2];

static void wake(void) {
  char byte = 0;
  if (write(to_other[1], &byte, 1) != 1 || read(from_other[0], &byte, 1) != 1) die("pipe", "broken");
}

static void echo(void) {
  char byte;
  close(to_other[1]);
  while (read(to_other[0], &byte, 1) == 1 && write(from_other[1], &byte, 1) == 1) continue;
}

static double us_each(void (*once)(void)) {
  const uint64_t begin = now_us();
  for (int i = 0; i < TIMES; i++) once();
  return (double)(now_us() - begin) / TIMES;
}

int main(void) {
  if (pipe(to_other) != 0 || pipe(from_other) != 0) die("pipe", "none");
  const pid_t other = fork();
  if (other < 0) die("fork", "no process");
  if (other == 0) {
    echo();
    _exit(0);
  }
  printf("{\"call\":%.1f,\"clock\":%.1f,\"fault\":%.1f,\"wake\":%.1f}\n", us_each(call), us_each(read_clock), us_each(touch),
         us_each(wake));
  close(to_other[1]);
  waitpid(other, NULL, 0);
  return 0;
}
