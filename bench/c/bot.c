/*
 * The baseline in C: a bulk-only disk by libusb, or the kernel's block device.
 *
 *   bot kernel /dev/sdX
 *   bot sequence|overlap|together /dev/bus/usb/BBB/DDD
 *
 * Then lines as contender.h says. One request at a time, whatever the depth, as BOT 1.0 wants it; by libusb only reads. The modes say
 * when the transfers of a command are submitted: each after the one before it; CBW and data together and then the CSW; all three
 * together.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <libusb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contender.h"

enum { CBW_BYTES = 31, CSW_BYTES = 13, BLOCK_BYTES = 512 };
enum { COMMAND, DATA, STATUS, PHASES };

struct disk {
  libusb_context *context;
  libusb_device_handle *device;
  uint8_t in, out;
  uint32_t blocks;
};

/* One command under way. */
struct exchange {
  struct disk *disk;
  struct libusb_transfer *transfers[PHASES];
  /* The phase whose end submits each one; -1 = submitted at once. */
  const int *after;
  uint8_t cbw[CBW_BYTES], csw[64];
  uint8_t *data;
  uint32_t tag;
  int left;
};

static const int AFTER[3][PHASES] = {{-1, COMMAND, DATA}, {-1, -1, DATA}, {-1, -1, -1}};
static const char *const MODES[3] = {"sequence", "overlap", "together"};

static void check(const char *what, int rc) {
  if (rc < 0) die(what, libusb_error_name(rc));
}

static void put_le32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_be32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void submit(struct exchange *exchange, int phase) {
  check("submit", libusb_submit_transfer(exchange->transfers[phase]));
}

static void LIBUSB_CALL ended(struct libusb_transfer *transfer) {
  struct exchange *exchange = transfer->user_data;
  if (transfer->status != LIBUSB_TRANSFER_COMPLETED) die("transfer", libusb_error_name(-transfer->status));
  exchange->left--;
  for (int phase = DATA; phase < PHASES; phase++)
    if (exchange->after[phase] >= 0 && exchange->transfers[exchange->after[phase]] == transfer) submit(exchange, phase);
}

/* One command with `bytes` of data to the host; waits for its end. Returns bCSWStatus. */
static int run(struct exchange *exchange, const uint8_t *cdb, int cdb_bytes, int bytes) {
  struct disk *disk = exchange->disk;
  uint8_t *cbw = exchange->cbw;
  memset(cbw, 0, CBW_BYTES);
  memcpy(cbw, "USBC", 4);
  put_le32(cbw + 4, ++exchange->tag);
  put_le32(cbw + 8, (uint32_t)bytes);
  cbw[12] = 0x80;
  cbw[14] = (uint8_t)cdb_bytes;
  memcpy(cbw + 15, cdb, (size_t)cdb_bytes);
  libusb_fill_bulk_transfer(exchange->transfers[COMMAND], disk->device, disk->out, cbw, CBW_BYTES, ended, exchange, 0);
  libusb_fill_bulk_transfer(exchange->transfers[DATA], disk->device, disk->in, exchange->data, bytes, ended, exchange, 0);
  libusb_fill_bulk_transfer(exchange->transfers[STATUS], disk->device, disk->in, exchange->csw, CSW_BYTES, ended, exchange,
                            0);
  exchange->left = PHASES;
  for (int phase = COMMAND; phase < PHASES; phase++)
    if (exchange->after[phase] < 0) submit(exchange, phase);
  while (exchange->left > 0) check("events", libusb_handle_events(disk->context));
  uint8_t tag[4];
  put_le32(tag, exchange->tag);
  if (memcmp(exchange->csw, "USBS", 4) != 0 || memcmp(exchange->csw + 4, tag, 4) != 0) die("CSW", "not of this command");
  return exchange->csw[12];
}

static void find_endpoints(struct disk *disk) {
  struct libusb_config_descriptor *config;
  check("descriptor", libusb_get_active_config_descriptor(libusb_get_device(disk->device), &config));
  const struct libusb_interface_descriptor *interface = config->interface[0].altsetting;
  for (int i = 0; i < interface->bNumEndpoints; i++) {
    const uint8_t address = interface->endpoint[i].bEndpointAddress;
    if (address & LIBUSB_ENDPOINT_IN) disk->in = address;
    else disk->out = address;
  }
  libusb_free_config_descriptor(config);
}

static void open_disk(struct disk *disk, const char *node) {
  const int fd = open(node, O_RDWR);
  if (fd < 0) die("open", node);
  struct libusb_init_option option = {.option = LIBUSB_OPTION_NO_DEVICE_DISCOVERY};
  check("init", libusb_init_context(&disk->context, &option, 1));
  check("wrap", libusb_wrap_sys_device(disk->context, fd, &disk->device));
  find_endpoints(disk);
  check("claim", libusb_claim_interface(disk->device, 0));
}

/* READ CAPACITY (10), SBC-3 5.15; the first one may find a unit attention, which REQUEST SENSE takes away. */
static void read_capacity(struct exchange *exchange) {
  static const uint8_t capacity[10] = {0x25}, sense[6] = {0x03, 0, 0, 0, 18};
  const int *after = exchange->after;
  exchange->after = AFTER[0];
  int tries = 0;
  while (run(exchange, capacity, sizeof capacity, 8) != 0) {
    if (++tries == 3) die("READ CAPACITY", "failed");
    run(exchange, sense, sizeof sense, 18);
  }
  exchange->disk->blocks = get_be32(exchange->data) + 1;
  exchange->after = after;
}

static void read_by_libusb(void *self, const struct workload *workload, uint32_t *us) {
  struct exchange *exchange = self;
  if (workload->write) die("workload", "reads only");
  exchange->data = malloc((size_t)workload->bytes);
  if (exchange->data == NULL) die("data", "no memory");
  const uint32_t blocks = (uint32_t)workload->bytes / BLOCK_BYTES;
  for (int i = 0; i < workload->count; i++) {
    const uint32_t lba = (uint32_t)(offset_of(workload, i, (uint64_t)exchange->disk->blocks * BLOCK_BYTES) / BLOCK_BYTES);
    const uint8_t read[10] = {0x28, 0, (uint8_t)(lba >> 24), (uint8_t)(lba >> 16), (uint8_t)(lba >> 8), (uint8_t)lba,
                              0, (uint8_t)(blocks >> 8), (uint8_t)blocks};
    const uint64_t begin = now_us();
    if (run(exchange, read, sizeof read, workload->bytes) != 0) die("READ", "failed");
    us[i] = (uint32_t)(now_us() - begin);
  }
  free(exchange->data);
}

static void serve_by_libusb(const char *node, const int *after) {
  static uint8_t first[512];
  struct disk disk = {0};
  open_disk(&disk, node);
  struct exchange exchange = {.disk = &disk, .after = after, .data = first};
  for (int phase = 0; phase < PHASES; phase++) exchange.transfers[phase] = libusb_alloc_transfer(0);
  read_capacity(&exchange);
  serve(read_by_libusb, &exchange);
  libusb_release_interface(disk.device, 0);
  libusb_close(disk.device);
  libusb_exit(disk.context);
}

static void run_by_kernel(void *self, const struct workload *workload, uint32_t *us) {
  const int fd = *(int *)self;
  const off_t size = lseek(fd, 0, SEEK_END);
  const size_t bytes = (size_t)workload->bytes;
  void *data = NULL;
  if (size < workload->bytes || posix_memalign(&data, 4096, bytes) != 0) die("block device", "too small, or no memory");
  memset(data, 0, bytes);
  for (int i = 0; i < workload->count; i++) {
    const off_t at = (off_t)offset_of(workload, i, (uint64_t)size);
    const uint64_t begin = now_us();
    const ssize_t moved = workload->write ? pwrite(fd, data, bytes, at) : pread(fd, data, bytes, at);
    if (moved != workload->bytes) die("block device", "not all was moved");
    us[i] = (uint32_t)(now_us() - begin);
  }
  free(data);
}

int main(int argc, char **argv) {
  if (argc != 3) die("usage", "bot kernel|sequence|overlap|together NODE");
  if (strcmp(argv[1], "kernel") == 0) {
    int fd = open(argv[2], O_RDWR | O_DIRECT);
    if (fd < 0) die("open", argv[2]);
    serve(run_by_kernel, &fd);
    return 0;
  }
  for (int mode = 0; mode < 3; mode++)
    if (strcmp(argv[1], MODES[mode]) == 0) {
      serve_by_libusb(argv[2], AFTER[mode]);
      return 0;
    }
  die(argv[1], "no such mode");
}
