/**
 * One transfer: the libusb structure, the caller's buffer kept from the garbage collector, and, for control transfers,
 * the staging memory in which libusb wants the setup packet in front of the data.
 *
 * Lives from the first use of its slot to the end of the port and is used again and again; between `Prepare` and
 * `Finish` it is in flight and the buffer is pinned.
 */
#pragma once

#include <libusb.h>
#include <napi.h>

#include <cstdint>
#include <vector>

/** What JavaScript asks for. `type` is libusb's number (enum libusb_transfer_type). */
struct TransferRequest {
  int type = 0;
  int endpoint = 0;
  bool has_setup = false;
  Napi::Uint8Array setup;
  Napi::Uint8Array data;
  bool send_zlp = false;
  int stream_id = 0;
  /** Bytes of each isochronous packet. */
  std::vector<unsigned> iso_packet_bytes;
};

/** How a transfer ended. `status` is enum libusb_transfer_status. */
struct TransferResult {
  int32_t slot;
  int32_t status;
  int32_t actual_bytes;
  /** Bulk and interrupt; 0 for the others, where libusb tells a killed URB from a short one. */
  int32_t asked_bytes;
  /** The `era` in which it was submitted. */
  uint32_t era;
  /** Isochronous: status and bytes of each packet in turn; else empty. */
  std::vector<int32_t> iso;
};

class Chain;

class Transfer {
 public:
  Transfer(int32_t slot, class Port* port) : slot_(slot), port_(port) {}
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /** usbfs takes at most so many bytes of data in a control transfer (a page). */
  static constexpr size_t kMaxControlBytes = 4096;
  static constexpr size_t kMaxIsoPackets = 1024;

  /**
   * Fills the libusb structure and pins the buffer. On a libusb error (INVALID_PARAM for what cannot be, NO_MEM)
   * nothing is pinned. `done` finds this object in `libusb_transfer::user_data`.
   */
  int Prepare(libusb_device_handle* device, TransferRequest& request, libusb_transfer_cb_fn done);
  /** Hands the prepared transfer to libusb; on an error nothing stays pinned. `era` comes back in the result. */
  int Start(uint32_t era);
  /** Reads the result, brings IN data of a control transfer into the buffer, and unpins it. */
  TransferResult Finish();
  /** Asks for cancellation; the end still comes. NOT_FOUND when it is not in flight. */
  int Cancel();

  /** What is prepared and will not be handed to libusb: unpins the buffer. */
  void Drop() { pinned_.Reset(); }
  /** The chain that this transfer is a step of; null = it is on its own. Leaving also drops what was never started. */
  void JoinChain(Chain* chain) { chain_ = chain; }
  void LeaveChain() {
    chain_ = nullptr;
    Drop();
  }
  Chain* chain() const { return chain_; }

  class Port* port() const { return port_; }
  bool in_flight() const { return in_flight_; }
  int32_t slot() const { return slot_; }

 private:
  bool Reserve(size_t iso_packets);
  int PrepareControl(TransferRequest& request);
  int PrepareIsochronous(const TransferRequest& request);

  const int32_t slot_;
  class Port* const port_;
  Chain* chain_ = nullptr;
  bool in_flight_ = false;
  uint32_t era_ = 0;
  libusb_transfer* usb_ = nullptr;
  size_t iso_capacity_ = 0;
  Napi::Reference<Napi::Uint8Array> pinned_;
  uint8_t* data_ = nullptr;
  std::vector<uint8_t> staging_;
};
