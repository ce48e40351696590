/* The filter between the launcher and the lock; see first_filter.h. Both architectures are little-endian. */
#define _GNU_SOURCE
#include "first_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif

int install_first_filter(void) {
  static const unsigned REFUSED[] = {SYS_io_uring_setup, SYS_ptrace, SYS_bpf, SYS_keyctl, SYS_add_key, SYS_request_key,
      SYS_userfaultfd, SYS_mount, SYS_umount2, SYS_unshare, SYS_setns, SYS_perf_event_open, SYS_open_by_handle_at,
      SYS_process_vm_readv, SYS_process_vm_writev, SYS_socket, SYS_connect, SYS_bind, SYS_kexec_load, SYS_init_module,
      SYS_pidfd_getfd, SYS_clone3,
#ifdef SYS_fork
      SYS_fork, SYS_vfork,
#endif
  };
  enum { COUNT = sizeof REFUSED / sizeof REFUSED[0], ALLOW = COUNT + 6, REFUSE = COUNT + 7 };
  struct sock_filter code[COUNT + 8] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, REFUSE - 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      [COUNT + 3] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, ALLOW - COUNT - 4),
      [COUNT + 4] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
      [COUNT + 5] = BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
      [ALLOW] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      [REFUSE] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  for (int i = 0; i < COUNT; i++)
    code[3 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REFUSED[i], REFUSE - 4 - i, 0);
  struct sock_fprog program = {REFUSE + 1, code};
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
