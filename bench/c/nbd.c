/*
 * An NBD client that asks and does nothing else: `nbd SOCKET EXPORT`, then lines as contender.h says.
 *
 * Spec: NetworkBlockDevice/nbd doc/proto.md: fixed newstyle, NBD_OPT_EXPORT_NAME, simple replies.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "contender.h"

enum { FIXED_NEWSTYLE_AND_NO_ZEROES = 3, OPT_EXPORT_NAME = 1, CMD_READ = 0, CMD_WRITE = 1 };
static const uint64_t OPTION_MAGIC = 0x49484156454F5054u;
static const uint32_t REQUEST_MAGIC = 0x25609513u, REPLY_MAGIC = 0x67446698u;

struct __attribute__((packed)) request {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie, offset;
  uint32_t length;
};
struct __attribute__((packed)) reply {
  uint32_t magic, error;
  uint64_t cookie;
};
struct disk {
  int fd;
  uint64_t size;
  uint8_t *data;
  uint64_t *begun;
};

static void put(int fd, const void *bytes, size_t count) {
  for (const char *at = bytes; count > 0;) {
    const ssize_t sent = write(fd, at, count);
    if (sent <= 0) die("write", "the server has gone");
    at += sent;
    count -= (size_t)sent;
  }
}

static void get(int fd, void *bytes, size_t count) {
  for (char *at = bytes; count > 0;) {
    const ssize_t got = read(fd, at, count);
    if (got <= 0) die("read", "the server has gone");
    at += got;
    count -= (size_t)got;
  }
}

static void handshake(struct disk *disk, const char *name) {
  struct __attribute__((packed)) { uint64_t magic, option_magic; uint16_t flags; } greeting;
  struct __attribute__((packed)) { uint32_t flags; uint64_t magic; uint32_t option, length; } asked = {
      htobe32(FIXED_NEWSTYLE_AND_NO_ZEROES), htobe64(OPTION_MAGIC), htobe32(OPT_EXPORT_NAME), htobe32((uint32_t)strlen(name))};
  struct __attribute__((packed)) { uint64_t size; uint16_t flags; } export;
  get(disk->fd, &greeting, sizeof greeting);
  if (be64toh(greeting.option_magic) != OPTION_MAGIC) die("handshake", "not newstyle");
  put(disk->fd, &asked, sizeof asked);
  put(disk->fd, name, strlen(name));
  get(disk->fd, &export, sizeof export);
  disk->size = be64toh(export.size);
}

static void ask(struct disk *disk, const struct workload *workload, int index) {
  const struct request request = {htobe32(REQUEST_MAGIC),
                                  0,
                                  htobe16(workload->write ? CMD_WRITE : CMD_READ),
                                  htobe64((uint64_t)index),
                                  htobe64(offset_of(workload, index, disk->size)),
                                  htobe32((uint32_t)workload->bytes)};
  disk->begun[index] = now_us();
  put(disk->fd, &request, sizeof request);
  if (workload->write) put(disk->fd, disk->data, (size_t)workload->bytes);
}

static void run(void *self, const struct workload *workload, uint32_t *us) {
  struct disk *disk = self;
  disk->data = calloc(1, (size_t)workload->bytes);
  disk->begun = calloc((size_t)workload->count, sizeof *disk->begun);
  if (disk->data == NULL || disk->begun == NULL) die("run", "no memory");
  int asked = 0;
  while (asked < workload->depth && asked < workload->count) ask(disk, workload, asked++);
  for (int answered = 0; answered < workload->count; answered++) {
    struct reply reply;
    get(disk->fd, &reply, sizeof reply);
    const uint64_t index = be64toh(reply.cookie);
    if (be32toh(reply.magic) != REPLY_MAGIC || reply.error != 0 || index >= (uint64_t)asked) die("reply", "refused, or nonsense");
    if (!workload->write) get(disk->fd, disk->data, (size_t)workload->bytes);
    us[index] = (uint32_t)(now_us() - disk->begun[index]);
    if (asked < workload->count) ask(disk, workload, asked++);
  }
  free(disk->data);
  free(disk->begun);
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) die("usage", "nbd SOCKET EXPORT");
  strcpy(address.sun_path, argv[1]);
  struct disk disk = {.fd = socket(AF_UNIX, SOCK_STREAM, 0)};
  if (disk.fd < 0 || connect(disk.fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect", argv[1]);
  handshake(&disk, argv[2]);
  serve(run, &disk);
  return 0;
}
