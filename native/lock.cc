/**
 * The lock: from here on the process can compute, use the descriptors that it has, and do what it is for: talk to USB devices, or
 * serve clients.
 *
 * A seccomp filter on every thread of the process, default: kill the process (seccomp(2)). The tables hold names, so they are
 * those of the architecture that this is compiled for (x86_64, aarch64). Calls that libc and Node try by themselves and can do
 * without are answered with an error, because killing for them would kill a healthy process: glibc's malloc opens
 * /proc/sys/vm/overcommit_memory when an arena shrinks.
 */
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/usbdevice_fs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <initializer_list>
#include <vector>

#include "arguments.h"
#include "usbfs.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

namespace {
#if defined(__x86_64__)
constexpr unsigned kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned kArch = AUDIT_ARCH_AARCH64;
#else
constexpr unsigned kArch = 0;
#endif
/** What becomes of a call that is not allowed; native/probe.cc, which must survive, is compiled with another answer. */
#ifdef RUMPUSB_PROBE_ERRNO
constexpr unsigned kRefusal = SECCOMP_RET_ERRNO | RUMPUSB_PROBE_ERRNO;
#else
constexpr unsigned kRefusal = SECCOMP_RET_KILL_PROCESS;
#endif
/** System call numbers from here up are the x32 ABI's. */
constexpr unsigned kX32 = 0x40000000;
constexpr unsigned kProtExec = 4;

/** What a process is locked for; src/rumpuser/real/locked-calls.ts has the same numbers. */
enum Purpose { kForDevices = 0, kForClients = 1 };

/** What a running Node with its libuv needs of the kernel, whatever the arguments. */
constexpr unsigned kAllowed[] = {
    SYS_futex,         SYS_epoll_pwait,     SYS_read,           SYS_write,          SYS_munmap,       SYS_madvise,
    SYS_readv,         SYS_writev,          SYS_pread64,        SYS_close,          SYS_fstat,        SYS_lseek,
    SYS_brk,           SYS_mremap,          SYS_rt_sigaction,   SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack,
    SYS_sched_yield,   SYS_nanosleep,       SYS_clock_nanosleep, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday,
    SYS_getpid,        SYS_gettid,          SYS_getrusage,      SYS_restart_syscall, SYS_exit,        SYS_exit_group,
    SYS_epoll_ctl,     SYS_getrandom,       SYS_shutdown,       SYS_sched_getaffinity, SYS_uname,     SYS_membarrier,
    SYS_ppoll,         SYS_eventfd2,        SYS_getsockname,
    // libc makes these in each new thread, of itself; on a busy machine one that Node starts while it boots comes to them after
    // the lock. Without rseq libc ends the process where the threads before had it.
    SYS_rseq,          SYS_set_robust_list,
    // OpenSSL asks for the time of day where it draws randomness; with a vDSO (vdso(7)) that is no system call.
#ifdef SYS_time
    SYS_time,
#endif
#ifdef SYS_poll
    SYS_poll,
#endif
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
};

/** What libusb needs besides. */
constexpr unsigned kAllowedForDevices[] = {SYS_timerfd_create, SYS_timerfd_settime};
/** What libuv needs besides to serve clients on sockets that listen. */
constexpr unsigned kAllowedForClients[] = {SYS_accept4, SYS_getpeername};
/** What libuv does with such a socket first: it is done already, by whoever made the socket. */
constexpr unsigned kDoneForClients[] = {SYS_listen};

/** Calls by path: nothing is there. */
constexpr unsigned kNoEntry[] = {
    SYS_openat, SYS_newfstatat, SYS_readlinkat, SYS_faccessat, SYS_statx, SYS_openat2, SYS_faccessat2, SYS_statfs,
#ifdef SYS_open
    SYS_open,   SYS_stat,       SYS_lstat,      SYS_access,    SYS_readlink,
#endif
};

/** Calls that have an older way, or that the runtime only probes for: not in this kernel. */
constexpr unsigned kNotImplemented[] = {SYS_clone3, SYS_io_uring_setup};

/** usbfs requests that libusb makes; nothing else reaches the device descriptor. */
const unsigned kDeviceRequests[] = {
    USBDEVFS_SUBMITURB,    USBDEVFS_REAPURBNDELAY,     USBDEVFS_DISCARDURB,   USBDEVFS_GET_CAPABILITIES,
    USBDEVFS_GET_SPEED,    USBDEVFS_CONNECTINFO,       USBDEVFS_CLAIMINTERFACE, USBDEVFS_RELEASEINTERFACE,
    USBDEVFS_SETINTERFACE, USBDEVFS_SETCONFIGURATION,  USBDEVFS_CLEAR_HALT,   USBDEVFS_RESET,
    USBDEVFS_ALLOC_STREAMS, USBDEVFS_FREE_STREAMS,     USBDEVFS_CONTROL,
};
/** Of a terminal's master: its settings, and that flushes are told of (ioctl_tty(2)). */
const unsigned kTerminalRequests[] = {TCGETS2, TCSETS2, TIOCPKT};
/** Of a socket, at SOL_SOCKET: of what kind it is, and how its connection went. Another one would be a descriptor of the peer's process. */
constexpr unsigned kOptionsToRead[] = {SO_TYPE, SO_ERROR};
/** … and at IPPROTO_TCP. The numbers have other meanings at other levels. */
constexpr unsigned kOptionsToSet[] = {TCP_NODELAY};
/** FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: on any descriptor that is open. */
const unsigned kAnyRequests[] = {FIONREAD, FIONBIO, FIONCLEX, FIOCLEX};

/** Offset of the low half of an argument (both architectures are little-endian); descriptors and requests fit it. */
constexpr unsigned LowHalf(unsigned arg) { return offsetof(seccomp_data, args) + 8 * arg; }

/** A filter under construction. Between rules the accumulator holds the number of the system call. */
class Filter {
 public:
  void Load(unsigned offset) { Add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset); }
  void Return(unsigned action) { Add(BPF_RET | BPF_K, 0, 0, action); }
  void ReturnIfEqual(unsigned value, unsigned action) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
    Return(action);
  }
  void ReturnUnlessEqual(unsigned value, unsigned action) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value);
    Return(action);
  }
  void ReturnIfAtLeast(unsigned value, unsigned action) {
    Add(BPF_JMP | BPF_JGE | BPF_K, 0, 1, value);
    Return(action);
  }
  template <typename Numbers>
  void ReturnForEach(const Numbers& numbers, unsigned action) {
    for (const unsigned nr : numbers) ReturnIfEqual(nr, action);
  }
  /** `rules` run only where what the accumulator holds is `value`; they are at most 255 instructions. */
  template <typename Rules>
  void When(unsigned value, Rules rules) {
    const size_t jump = code_.size();
    Add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, value);
    rules();
    code_[jump].jf = static_cast<unsigned char>(code_.size() - jump - 1);
  }
  /** The same where it is one of `count` numbers from `first` on. The accumulator holds something else afterwards. */
  template <typename Rules>
  void WhenWithin(unsigned first, unsigned count, Rules rules) {
    Add(BPF_ALU | BPF_SUB | BPF_K, 0, 0, first);
    const size_t jump = code_.size();
    Add(BPF_JMP | BPF_JGE | BPF_K, 0, 0, count);
    rules();
    code_[jump].jt = static_cast<unsigned char>(code_.size() - jump - 1);
  }
  void MaskArgument(unsigned arg, unsigned bits) {
    Load(LowHalf(arg));
    Add(BPF_ALU | BPF_AND | BPF_K, 0, 0, bits);
  }
  sock_fprog Program() { return {static_cast<unsigned short>(code_.size()), code_.data()}; }

 private:
  void Add(int code, int jt, int jf, unsigned k) {
    code_.push_back({static_cast<unsigned short>(code), static_cast<unsigned char>(jt), static_cast<unsigned char>(jf), k});
  }
  std::vector<sock_filter> code_;
};

/** The rules for one call whose arguments matter; what they do not allow is killed. */
template <typename Rules>
void Examine(Filter& filter, unsigned nr, Rules rules) {
  filter.When(nr, [&] {
    rules();
    filter.Return(kRefusal);
  });
}

/** Allows `nr` where argument `arg` is one of `values`. */
template <typename Values>
void AllowArgument(Filter& filter, unsigned nr, unsigned arg, const Values& values) {
  Examine(filter, nr, [&] {
    filter.Load(LowHalf(arg));
    filter.ReturnForEach(values, SECCOMP_RET_ALLOW);
  });
}

struct Request {
  Purpose purpose = kForDevices;
  bool strict = false;
  int pass_fd = -1, device_fd = -1, device_count = 0;
};

void AllowDeviceRequests(Filter& filter, const Request& request) {
  filter.Load(LowHalf(0));
  filter.WhenWithin(static_cast<unsigned>(request.device_fd), static_cast<unsigned>(request.device_count), [&] {
    filter.Load(LowHalf(1));
    filter.ReturnForEach(kDeviceRequests, SECCOMP_RET_ALLOW);
    // After a reset libusb takes the kernel's driver off before it claims again. It is told that there is none, and claims.
    filter.ReturnIfEqual(USBDEVFS_DISCONNECT_CLAIM, SECCOMP_RET_ERRNO | ENOTTY);
    filter.ReturnIfEqual(USBDEVFS_GETDRIVER, SECCOMP_RET_ERRNO | ENODATA);
    filter.ReturnIfEqual(USBDEVFS_IOCTL, SECCOMP_RET_ERRNO | ENODATA);
  });
}

/** Allows `nr`, a call for an option of a socket, for `options` of one level; for the others `otherwise` is returned. */
template <typename Options>
void AllowOptions(Filter& filter, unsigned nr, unsigned level, const Options& options, unsigned otherwise) {
  filter.When(nr, [&] {
    filter.Load(LowHalf(1));
    filter.When(level, [&] {
      filter.Load(LowHalf(2));
      filter.ReturnForEach(options, SECCOMP_RET_ALLOW);
    });
    filter.Return(otherwise);
  });
}

Filter BuildFilter(const Request& request) {
  const bool serves = request.purpose == kForClients;
  Filter filter;
  filter.Load(offsetof(seccomp_data, arch));
  filter.ReturnUnlessEqual(kArch, kRefusal);
  filter.Load(offsetof(seccomp_data, nr));
  filter.ReturnIfAtLeast(kX32, kRefusal);
  filter.ReturnForEach(kAllowed, SECCOMP_RET_ALLOW);
  if (serves) {
    filter.ReturnForEach(kAllowedForClients, SECCOMP_RET_ALLOW);
    filter.ReturnForEach(kDoneForClients, SECCOMP_RET_ERRNO | 0);
    AllowOptions(filter, SYS_setsockopt, IPPROTO_TCP, kOptionsToSet, kRefusal);
  } else {
    filter.ReturnForEach(kAllowedForDevices, SECCOMP_RET_ALLOW);
  }
  filter.ReturnForEach(kNoEntry, SECCOMP_RET_ERRNO | ENOENT);
  filter.ReturnForEach(kNotImplemented, SECCOMP_RET_ERRNO | ENOSYS);
  for (const unsigned nr : {SYS_mmap, SYS_mprotect}) {
    if (!request.strict) filter.ReturnIfEqual(nr, SECCOMP_RET_ALLOW);
    else
      Examine(filter, nr, [&] {
        filter.MaskArgument(2, kProtExec);
        filter.ReturnIfEqual(0, SECCOMP_RET_ALLOW);
      });
  }
  AllowOptions(filter, SYS_getsockopt, SOL_SOCKET, kOptionsToRead, SECCOMP_RET_ERRNO | ENOPROTOOPT);
  AllowArgument(filter, SYS_tgkill, 0, std::initializer_list<unsigned>{static_cast<unsigned>(getpid())});
  AllowArgument(filter, SYS_fcntl, 1, std::initializer_list<unsigned>{F_GETFD, F_SETFD, F_GETFL, F_SETFL});
  AllowArgument(filter, SYS_prctl, 0, std::initializer_list<unsigned>{PR_SET_NAME, PR_SET_VMA});
  AllowArgument(filter, SYS_recvmsg, 0, std::initializer_list<unsigned>{static_cast<unsigned>(request.pass_fd)});
  Examine(filter, SYS_ioctl, [&] {
    filter.Load(LowHalf(1));
    filter.ReturnForEach(kAnyRequests, SECCOMP_RET_ALLOW);
    filter.ReturnIfEqual(TCGETS, SECCOMP_RET_ERRNO | ENOTTY);  // isatty(3)
    if (serves) filter.ReturnForEach(kTerminalRequests, SECCOMP_RET_ALLOW);
    else AllowDeviceRequests(filter, request);
  });
  filter.Return(kRefusal);
  return filter;
}

/**
 * lock(purpose, strict, passFd, deviceFd, deviceCount) → 0 or -errno. `strict`: no executable memory from now on (needs --jitless).
 * `passFd`: the one from which a descriptor may be received. For devices: the `deviceCount` descriptors from `deviceFd` on take usbfs
 * requests, no other does. Threads must run already.
 */
Napi::Value Lock(const Napi::CallbackInfo& info) {
  Request request;
  int purpose = -1;
  if (!ReadInt(info, 0, "purpose", &purpose) || !ReadBool(info, 1, "strict", &request.strict) ||
      !ReadInt(info, 2, "passFd", &request.pass_fd) || !ReadInt(info, 3, "deviceFd", &request.device_fd) ||
      !ReadInt(info, 4, "deviceCount", &request.device_count))
    return {};
  const auto result = [&](int value) { return Napi::Number::New(info.Env(), value); };
  if (purpose != kForDevices && purpose != kForClients) return result(-EINVAL);
  request.purpose = static_cast<Purpose>(purpose);
  if (kArch == 0) return result(-ENOSYS);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return result(-errno);
  Filter filter = BuildFilter(request);
  sock_fprog program = filter.Program();
  const long failed = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
  if (failed > 0) return result(-ESRCH);  // the id of a thread that could not be brought along
  return result(failed < 0 ? -errno : 0);
}

/** dieWithParent() → 0 or -errno. SIGKILL for this process when the thread that started it ends (prctl(2)). */
Napi::Value DieWithParent(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), prctl(PR_SET_PDEATHSIG, SIGKILL) ? -errno : 0);
}
}  // namespace

void DefineLock(Napi::Env env, Napi::Object exports) {
  exports["lock"] = Napi::Function::New<Lock>(env, "lock");
  exports["dieWithParent"] = Napi::Function::New<DieWithParent>(env, "dieWithParent");
}
