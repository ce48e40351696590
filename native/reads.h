/**
 * Reads on one endpoint that follow one another: each slot has its place in one piece of memory, which is kept from the garbage
 * collector once for all of them.
 *
 * A device that repeats itself is read again here, without JavaScript: an answer of at most `repeat_bytes` bytes that is no other than
 * the one before. One that comes within kRepeatUs of it is told, so that somebody can do something about a device that is in the way.
 */
#pragma once

#include <libusb.h>
#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "transfer.h"

class Reads {
 public:
  Reads(int32_t number, class Port* port) : number_(number), port_(port) {}
  ~Reads();
  Reads(const Reads&) = delete;
  Reads& operator=(const Reads&) = delete;

  static constexpr int kMaxSlots = 256;
  static constexpr int kMaxRepeatBytes = 16;
  static constexpr uint64_t kRepeatUs = 500;
  /** The number of a slot in the results: those of transfers are lower. */
  static constexpr int32_t kFirstResult = 1 << 24;

  /** Pins the memory. Returns a libusb error: INVALID_PARAM for what cannot be, NO_MEM; nothing is pinned then. */
  int Open(libusb_device_handle* device, int type, int endpoint, Napi::Uint8Array memory, int slot_bytes,
           int repeat_bytes);
  /** Queues a read in a slot that is not in flight. Returns a libusb error. */
  int Start(int slot, int bytes, uint32_t era);
  /** While it is on nothing is read again here. Off when the reads are opened. */
  void TellRepeats(bool on) { tells_repeats_ = on; }
  /** Cancels what is in flight, the last started first. */
  void Cancel();
  /** Lets go of the memory. Nothing is in flight. */
  void Close();

  bool open() const { return open_; }
  bool in_flight() const { return in_flight_ > 0; }

 private:
  struct Slot {
    Reads* reads;
    int32_t index;
    libusb_transfer* usb;
    uint32_t era;
    uint64_t order;
    bool in_flight;
  };

  static void LIBUSB_CALL OnEnd(libusb_transfer* usb);
  void Ended(Slot* slot);
  /** Notes the answer. */
  bool Repeats(const libusb_transfer* usb);

  const int32_t number_;
  class Port* const port_;
  std::vector<std::unique_ptr<Slot>> slots_;
  Napi::Reference<Napi::Uint8Array> pinned_;
  uint8_t* memory_ = nullptr;
  int slot_bytes_ = 0;
  int repeat_bytes_ = 0;
  int in_flight_ = 0;
  uint64_t started_ = 0;
  bool open_ = false;
  bool cancelled_ = false;
  bool tells_repeats_ = false;
  std::vector<uint8_t> last_;
  uint64_t last_us_ = 0;
};
