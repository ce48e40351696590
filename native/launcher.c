/*
 * Launcher: puts a program into a box and becomes it.
 *
 *   rumpusb-launcher [--namespaces] [--landlock] [--strict] [--devices N] [--open-files N] [--data-bytes N] [--bind PATH]... -- PROGRAM ARG...
 *   rumpusb-launcher [the same] --probe
 *
 * Always: own session, dies with its parent, resource limits, descriptors above 4 closed, /dev/null as 5, no capabilities, no new
 * privileges, a first system-call filter, an environment of fixed variables; started by root it goes on as id 65534.
 * --namespaces: user (not for root), mount with a root that holds the bound paths and nothing else, pid, net, ipc, uts, cgroup.
 * --landlock: the bound paths may be read and executed, nothing else, at the best version that the kernel has.
 * --devices N: for a program that serves up to N devices: /dev/null as 5 to 4 + N, descriptors up to 4 + 2 N stay.
 * --open-files N, --data-bytes N: what it may have, 64 and 512 MiB if left out; never more than the limits before.
 * --probe: builds the box and ends with 0.
 *
 * Exits with 101 and one line on standard error when a layer that was asked for cannot be had. It never runs the program then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "first_filter.h"

enum { EXIT_NO_BOX = 101, MAX_BINDS = 32, LAST_FD = 4, MAX_DEVICES = 8, NOBODY = 65534, MAX_PATH = 4096 };
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

static const char *binds[MAX_BINDS];
static int bind_count;

static void die(const char *layer, const char *what) {
  fprintf(stderr, "rumpusb-launcher: %s: %s: %s\n", layer, what, strerror(errno));
  _exit(EXIT_NO_BOX);
}

static void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) die("namespaces", path);
  close(fd);
}

static void lower_limit(int resource, rlim_t value) {
  struct rlimit limit;
  if (getrlimit(resource, &limit)) die("limits", "getrlimit");
  limit.rlim_cur = limit.rlim_max = value < limit.rlim_max ? value : limit.rlim_max;
  if (setrlimit(resource, &limit)) die("limits", "setrlimit");
}

/* user_namespaces(7): the caller's id is 1000 inside, and nothing else is mapped. */
static void enter_user_namespace(void) {
  char map[64];
  uid_t uid = getuid();
  gid_t gid = getgid();
  if (unshare(CLONE_NEWUSER)) die("namespaces", "unshare user");
  write_file("/proc/self/setgroups", "deny");
  snprintf(map, sizeof map, "1000 %u 1", uid);
  write_file("/proc/self/uid_map", map);
  snprintf(map, sizeof map, "1000 %u 1", gid);
  write_file("/proc/self/gid_map", map);
}

static void make_parents(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(path, 0755) && errno != EEXIST) die("namespaces", path);
    *slash = '/';
  }
}

/* A mount in a user namespace keeps the flags it came with, so they are part of the remount (mount_namespaces(7)). */
static unsigned long flags_of(const char *path) {
  struct statvfs v;
  if (statvfs(path, &v)) die("namespaces", path);
  return (v.f_flag & ST_NOEXEC ? MS_NOEXEC : 0) | (v.f_flag & ST_NOATIME ? MS_NOATIME : 0) |
         (v.f_flag & ST_NODIRATIME ? MS_NODIRATIME : 0) | (v.f_flag & ST_RELATIME ? MS_RELATIME : 0);
}

/* Shows /old/PATH as /new/PATH, read-only; a path that is a link (/lib on a merged /usr) becomes the same link. */
static void show(const char *path) {
  char from[MAX_PATH], to[MAX_PATH], link[MAX_PATH];
  struct stat st;
  snprintf(from, sizeof from, "/old%s", path);
  snprintf(to, sizeof to, "/new%s", path);
  if (lstat(from, &st)) return;
  make_parents(to);
  if (S_ISLNK(st.st_mode)) {
    ssize_t length = readlink(from, link, sizeof link - 1);
    if (length < 0) die("namespaces", from);
    link[length] = 0;
    if (symlink(link, to) && errno != EEXIST) die("namespaces", to);
    return;
  }
  if (S_ISDIR(st.st_mode)) {
    if (mkdir(to, 0755) && errno != EEXIST) die("namespaces", to);
  } else {
    int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) die("namespaces", to);
    close(fd);
  }
  unsigned long keep = S_ISCHR(st.st_mode) ? 0 : MS_NODEV;
  if (mount(from, to, NULL, MS_BIND | MS_REC, NULL)) die("namespaces", path);
  if (mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | keep | flags_of(to), NULL))
    die("namespaces", path);
}

/* Twice pivot_root(2): the first makes room for the old tree aside, the second leaves it behind. */
static void enter_new_root(void) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("namespaces", "private mounts");
  if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")) die("namespaces", "tmpfs");
  if (mkdir("/tmp/old", 0755) || mkdir("/tmp/new", 0755)) die("namespaces", "mkdir");
  if (syscall(SYS_pivot_root, "/tmp", "/tmp/old") || chdir("/")) die("namespaces", "pivot_root");
  if (mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")) die("namespaces", "tmpfs");
  for (int i = 0; i < bind_count; i++) show(binds[i]);
  if (mount(NULL, "/new", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, "size=1m,mode=755"))
    die("namespaces", "read-only root");
  if (chdir("/new") || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
    die("namespaces", "leave the old root");
}

/* The parent stays outside the pid namespace and ends as the program ends. @return a socket to it. */
static int fork_into_pid_namespace(void) {
  int ends[2], status;
  char byte = 0;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) die("namespaces", "socketpair");
  pid_t child = fork();
  if (child < 0) die("namespaces", "fork");
  if (child == 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) die("namespaces", "parent-death signal");
    close(ends[1]);
    return ends[0];
  }
  close(ends[0]);
  if (read(ends[1], &byte, 1) == 1 && write(ends[1], &byte, 1) != 1) _exit(EXIT_NO_BOX);
  syscall(SYS_close_range, 0, ~0U, 0);
  while (waitpid(child, &status, 0) < 0 && errno == EINTR);
  if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
  signal(WTERMSIG(status), SIG_DFL);
  kill(getpid(), WTERMSIG(status));
  _exit(128 + WTERMSIG(status));
}

/* Once the parent-death signal is set for good: a parent that died before would end nothing. Its answer says that it lives. */
static void require_parent(int parent) {
  char byte = 0;
  if (write(parent, &byte, 1) != 1 || read(parent, &byte, 1) != 1) _exit(EXIT_NO_BOX);
  close(parent);
}

static void drop_capabilities(void) {
  for (int cap = 0; cap < 64; cap++) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  if (getuid() == 0) {
    if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
      die("capabilities", "drop root");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) die("capabilities", "parent-death signal"); /* cleared by setresuid */
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  if (syscall(SYS_capset, &header, none)) die("capabilities", "capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("capabilities", "no_new_privs");
}

/* landlock(7). Our own structure: the system's header may know fewer versions than the kernel. */
static void restrict_paths(void) {
  static const uint64_t FS_BY_ABI[] = {0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff};
  struct {
    uint64_t fs, net, scoped;
  } rules = {0, 3, 3};
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) die("landlock", "not in this kernel");
  rules.fs = FS_BY_ABI[abi > 5 ? 5 : abi];
  int set = (int)syscall(SYS_landlock_create_ruleset, &rules, (size_t)(abi >= 6 ? 24 : abi >= 4 ? 16 : 8), 0);
  if (set < 0) die("landlock", "create ruleset");
  for (int i = 0; i < bind_count; i++) {
    struct stat st;
    if (lstat(binds[i], &st) || S_ISLNK(st.st_mode)) continue; /* not on this system, or bound by its own name too */
    struct landlock_path_beneath_attr rule = {0, open(binds[i], O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0) die("landlock", binds[i]);
    rule.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | (S_ISCHR(st.st_mode) ? LANDLOCK_ACCESS_FS_WRITE_FILE
                                                                              : LANDLOCK_ACCESS_FS_EXECUTE);
    if (S_ISDIR(st.st_mode)) rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR;
    if (syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &rule, 0)) die("landlock", binds[i]);
    close(rule.parent_fd);
  }
  if (syscall(SYS_landlock_restrict_self, set, 0)) die("landlock", "restrict");
  close(set);
}

int main(int argc, char **argv) {
  int namespaces = 0, landlock = 0, strict = 0, probe = 0, devices = 0, i = 1;
  unsigned long open_files = 64, data_bytes = 512UL << 20;
  for (; i < argc && strcmp(argv[i], "--"); i++) {
    if (!strcmp(argv[i], "--namespaces")) namespaces = 1;
    else if (!strcmp(argv[i], "--landlock")) landlock = 1;
    else if (!strcmp(argv[i], "--strict")) strict = 1;
    else if (!strcmp(argv[i], "--probe")) probe = 1;
    else if (!strcmp(argv[i], "--devices") && i + 1 < argc) devices = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--open-files") && i + 1 < argc) open_files = strtoul(argv[++i], NULL, 10);
    else if (!strcmp(argv[i], "--data-bytes") && i + 1 < argc) data_bytes = strtoul(argv[++i], NULL, 10);
    else if (!strcmp(argv[i], "--bind") && i + 1 < argc && bind_count < MAX_BINDS) binds[bind_count++] = argv[++i];
    else errno = EINVAL, die("usage", argv[i]);
  }
  if (i + 1 >= argc && !probe) errno = EINVAL, die("usage", "no program after --");
  if (devices < 0 || devices > MAX_DEVICES) errno = EINVAL, die("usage", "--devices");
  char **program = argv + i + 1;

  if (syscall(SYS_close_range, LAST_FD + 1 + 2 * devices, ~0U, 0)) die("descriptors", "close_range");
  int nothing = probe ? -1 : open("/dev/null", O_RDONLY);
  for (int fd = LAST_FD + 1; !probe && (fd == LAST_FD + 1 || fd <= LAST_FD + devices); fd++)
    if (dup2(nothing, fd) < 0) die("descriptors", "placeholder of a device");
  setsid(); /* fails where the starter has made it a session leader already, which is as good */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL)) die("limits", "parent-death signal");
  lower_limit(RLIMIT_CORE, 0);
  lower_limit(RLIMIT_FSIZE, 0);
  lower_limit(RLIMIT_MSGQUEUE, 0);
  lower_limit(RLIMIT_NOFILE, open_files);
  lower_limit(RLIMIT_DATA, data_bytes);
  if (namespaces) {
    if (getuid() != 0) enter_user_namespace();
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP))
      die("namespaces", "unshare");
    const int parent = fork_into_pid_namespace();
    enter_new_root();
    drop_capabilities();
    require_parent(parent);
  } else drop_capabilities();
  if (landlock) restrict_paths();
  if (strict && prctl(PR_SET_MDWE, 1, 0, 0, 0) && errno != EINVAL) die("strict", "memory-deny-write-execute");
  if (install_first_filter()) die("seccomp", "first filter");
  if (probe) return 0;
  execve(program[0], program, (char *[]){"OPENSSL_CONF=/dev/null", "UV_USE_IO_URING=0", "NODE_NO_WARNINGS=1", NULL});
  die("exec", program[0]);
}
