/*
 * rumpusb-keeper: gives the kernel driver back when nobody else can.
 *
 *   rumpusb-keeper INTERFACE…    standard input: a pipe from the host process; descriptor 3: the usbfs device
 *
 * The host starts it before it takes interfaces from their kernel drivers and keeps the pipe open. The end of the pipe
 * means that the host has gone, by whatever death; then each interface is offered to the kernel's drivers again. A host
 * that has given everything back itself writes one byte first, and the keeper ends without touching anything.
 *
 * Claims belong to an open file description. Descriptor 3 may share its description with the process that holds the
 * claims, and then would itself keep them alive: so the node is opened anew, and where that is not permitted, the
 * shared claims are released at the end.
 *
 * A driver of several interfaces (cdc_acm) binds only when all of them are free, and the end of a claim frees them one by
 * one: an interface that no driver took is offered again for a while.
 *
 * Exit status: 0 every interface was offered, 1 one could not be, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DEVICE_FD 3
#define MAX_INTERFACES 32 /* USB_MAXINTERFACES of the kernel */
#define RETRY_MS 50
#define MAX_TRIES 200 /* 10 s: the rump process may need a while to die */
#define MAX_OFFERS 20 /* 1 s more, for an interface that no driver takes */

static void ignore_signals(void) {
  static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
}

/* Returns 1 when the host said that nothing is left to do, 0 at the end of the pipe. */
static int wait_for_host(void) {
  char byte;
  for (;;) {
    ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got >= 0) return got == 1;
    if (errno != EINTR) return 0;
  }
}

/* Returns 0 when a driver is bound or the device has gone, EAGAIN when none took it, else the errno. */
static int give_back(int fd, int shared, unsigned interface_number) {
  struct usbdevfs_ioctl command = {.ifno = (int)interface_number, .ioctl_code = USBDEVFS_CONNECT, .data = NULL};
  int bound = ioctl(fd, USBDEVFS_IOCTL, &command);
  if (bound >= 0) return bound > 0 ? 0 : EAGAIN;
  if (errno == ENODEV) return 0;
  if (errno == EBUSY) {
    /* bound: to a kernel driver that came back already, or to usbfs for whoever holds the claim */
    struct usbdevfs_getdriver driver = {.interface = interface_number, .driver = ""};
    if (ioctl(fd, USBDEVFS_GETDRIVER, &driver) == 0 && strcmp(driver.driver, "usbfs") != 0) return 0;
    if (shared) ioctl(fd, USBDEVFS_RELEASEINTERFACE, &interface_number);
    return EBUSY;
  }
  return errno;
}

int main(int argc, char **argv) {
  unsigned interfaces[MAX_INTERFACES];
  int count = argc - 1;
  if (count < 1 || count > MAX_INTERFACES) {
    fprintf(stderr, "usage: rumpusb-keeper INTERFACE... (1 to %d of them)\n", MAX_INTERFACES);
    return 2;
  }
  for (int i = 0; i < count; i++) {
    char *end;
    unsigned long number = strtoul(argv[i + 1], &end, 10);
    if (*end != '\0' || end == argv[i + 1] || number > 255) {
      fprintf(stderr, "rumpusb-keeper: \"%s\" is not an interface number (0 to 255)\n", argv[i + 1]);
      return 2;
    }
    interfaces[i] = (unsigned)number;
  }

  ignore_signals();
  setsid(); /* fails for a group leader, which no terminal signal of the host's group reaches anyway */
  int own = open("/proc/self/fd/3", O_RDWR | O_CLOEXEC);
  int fd = own >= 0 ? own : DEVICE_FD;
  if (own >= 0) close(DEVICE_FD);
  if (wait_for_host()) return 0;

  int busy = count;
  int failed = 0;
  int untaken = 0;
  int offers = 0;
  for (int tries = 0; tries < MAX_TRIES && (busy > 0 || (untaken > 0 && offers < MAX_OFFERS)); tries++) {
    busy = untaken = failed = 0;
    for (int i = 0; i < count; i++) {
      int error = give_back(fd, own < 0, interfaces[i]);
      if (error == EBUSY || error == EHOSTUNREACH) busy++; /* EHOSTUNREACH: between two configurations */
      else if (error == EAGAIN) untaken++;
      else if (error != 0) failed++;
    }
    if (busy == 0) offers++;
    if (busy > 0 || untaken > 0) nanosleep(&(struct timespec){.tv_sec = 0, .tv_nsec = RETRY_MS * 1000000L}, NULL);
  }
  return busy > 0 || failed > 0 ? 1 : 0;
}
