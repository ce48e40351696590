/*
 * Where the time of a process goes: counts its system calls, and the processor's clock ticks in them and between them. Loaded into every
 * process of the lab's guest (/etc/ld.so.preload, bench/lab-profile.mjs); strace costs more than what it counts.
 *
 * The counters of process N are the file FOLDER/N, if the folder is there when the process starts: the names of the calls, 16 bytes each
 * and an empty one behind them; then numbers of 64 bits: ticks in a second; for each call of the main thread how often and ticks; the
 * same of all other threads; for each call of the main thread and each one that may come next how often and ticks between them.
 *
 * Seen is what goes through the C library and is named here. Its own waits (locks, conditions) are not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define FOLDER "/run/rumpusb-calls"
/* What takes longer than one of so many parts of a second waits for the next turn of its contender, and is left out. */
#define PAUSES_PER_SECOND 20

/* linux/usbdevice_fs.h: USBDEVFS_SUBMITURB, USBDEVFS_REAPURBNDELAY, 64 bits. */
#define SUBMITURB 0x8038550aul
#define REAPURBNDELAY 0x4008550dul

#define CALLS(_) \
  _(submit) _(reap) _(ioctl) _(poll) _(epoll_wait) _(epoll_ctl) _(clock_gettime) _(read) _(write) _(writev) _(readv) _(sendmsg) \
  _(recvmsg) _(pread) _(pwrite) _(mmap) _(munmap) _(mprotect) _(madvise) _(sched_yield) _(syscall)
#define AS_ENUM(name) CALL_##name,
#define AS_NAME(name) #name,
enum { CALLS(AS_ENUM) COUNT };

struct tally {
  uint64_t count, ticks;
};

static struct counters {
  char names[COUNT + 1][16];
  uint64_t ticks_per_second;
  struct tally main[COUNT], others[COUNT], between[COUNT][COUNT];
} *counters;

/* Of the thread. To ask who it is is a system call. */
static __thread enum { UNKNOWN, MAIN, OTHER } role;
static __thread int last_call;
static __thread uint64_t last_end;

static void add(struct tally *tally, uint64_t ticks) {
  if (ticks > counters->ticks_per_second / PAUSES_PER_SECOND) return;
  __atomic_fetch_add(&tally->count, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&tally->ticks, ticks, __ATOMIC_RELAXED);
}

static uint64_t enter(int call) {
  const uint64_t now = __rdtsc();
  if (counters != NULL && role == MAIN) add(&counters->between[last_call][call], now - last_end);
  return now;
}

static void leave(int call, uint64_t begin) {
  const uint64_t now = __rdtsc();
  if (counters == NULL) return;
  if (role == UNKNOWN) role = gettid() == getpid() ? MAIN : OTHER;
  add(role == MAIN ? &counters->main[call] : &counters->others[call], now - begin);
  last_call = call;
  last_end = __rdtsc();
}

/* The function of the C library, called and counted. */
#define COUNTED(call, type, function, parameters, ...)                          \
  type function parameters {                                                    \
    static type(*real) parameters;                                              \
    if (real == NULL) real = (type(*) parameters)dlsym(RTLD_NEXT, #function);   \
    const uint64_t begin = enter(CALL_##call);                                  \
    const type result = real(__VA_ARGS__);                                      \
    leave(CALL_##call, begin);                                                  \
    return result;                                                              \
  }

typedef void *pointer;
COUNTED(poll, int, poll, (struct pollfd * fds, nfds_t count, int ms), fds, count, ms)
COUNTED(epoll_wait, int, epoll_pwait, (int fd, struct epoll_event *events, int most, int ms, const sigset_t *mask), fd, events, most, ms, mask)
COUNTED(epoll_wait, int, epoll_wait, (int fd, struct epoll_event *events, int most, int ms), fd, events, most, ms)
COUNTED(epoll_ctl, int, epoll_ctl, (int fd, int what, int about, struct epoll_event *event), fd, what, about, event)
COUNTED(clock_gettime, int, clock_gettime, (clockid_t clock, struct timespec *time), clock, time)
COUNTED(read, ssize_t, read, (int fd, void *bytes, size_t count), fd, bytes, count)
COUNTED(write, ssize_t, write, (int fd, const void *bytes, size_t count), fd, bytes, count)
COUNTED(writev, ssize_t, writev, (int fd, const struct iovec *parts, int count), fd, parts, count)
COUNTED(readv, ssize_t, readv, (int fd, const struct iovec *parts, int count), fd, parts, count)
COUNTED(sendmsg, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)
COUNTED(recvmsg, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
COUNTED(pread, ssize_t, pread, (int fd, void *bytes, size_t count, off_t at), fd, bytes, count, at)
COUNTED(pread, ssize_t, pread64, (int fd, void *bytes, size_t count, off64_t at), fd, bytes, count, at)
COUNTED(pwrite, ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t at), fd, bytes, count, at)
COUNTED(mmap, pointer, mmap, (void *at, size_t bytes, int prot, int flags, int fd, off_t from), at, bytes, prot, flags, fd, from)
COUNTED(mmap, pointer, mmap64, (void *at, size_t bytes, int prot, int flags, int fd, off64_t from), at, bytes, prot, flags, fd, from)
COUNTED(munmap, int, munmap, (void *at, size_t bytes), at, bytes)
COUNTED(mprotect, int, mprotect, (void *at, size_t bytes, int prot), at, bytes, prot)
COUNTED(madvise, int, madvise, (void *at, size_t bytes, int advice), at, bytes, advice)
COUNTED(sched_yield, int, sched_yield, (void), )

int ioctl(int fd, unsigned long request, ...) {
  static int (*real)(int, unsigned long, void *);
  if (real == NULL) real = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  const int call = request == SUBMITURB ? CALL_submit : request == REAPURBNDELAY ? CALL_reap : CALL_ioctl;
  const uint64_t begin = enter(call);
  const int result = real(fd, request, argument);
  leave(call, begin);
  return result;
}

long syscall(long number, ...) {
  static long (*real)(long, long, long, long, long, long, long);
  if (real == NULL) real = (long (*)(long, long, long, long, long, long, long))dlsym(RTLD_NEXT, "syscall");
  long arguments[6];
  va_list rest;
  va_start(rest, number);
  for (int i = 0; i < 6; i++) arguments[i] = va_arg(rest, long);
  va_end(rest);
  const uint64_t begin = enter(CALL_syscall);
  const long result = real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
  leave(CALL_syscall, begin);
  return result;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t ticks_per_second(void) {
  const uint64_t begin_ns = now_ns(), begin = __rdtsc();
  usleep(20000);
  const uint64_t ticks = __rdtsc() - begin;
  return (uint64_t)((double)ticks * 1e9 / (double)(now_ns() - begin_ns));
}

__attribute__((constructor)) static void start(void) {
  static const char names[COUNT + 1][16] = {CALLS(AS_NAME) ""};
  char path[64];
  snprintf(path, sizeof path, FOLDER "/%d", getpid());
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;
  struct counters *made = MAP_FAILED;
  if (ftruncate(fd, sizeof *made) == 0) made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (made == MAP_FAILED) return;
  memcpy(made->names, names, sizeof names);
  made->ticks_per_second = ticks_per_second();
  counters = made;
}
