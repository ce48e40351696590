#include "reads.h"

#include <uv.h>

#include <algorithm>

#include "port.h"

Reads::~Reads() { Close(); }

int Reads::Open(libusb_device_handle* device, int type, int endpoint, Napi::Uint8Array memory, int slot_bytes,
                int repeat_bytes) {
  const bool queued = type == LIBUSB_TRANSFER_TYPE_BULK || type == LIBUSB_TRANSFER_TYPE_INTERRUPT;
  if (!queued || endpoint < 0 || endpoint > 0xff || (endpoint & LIBUSB_ENDPOINT_IN) == 0 || slot_bytes < 1 ||
      repeat_bytes < 0 || repeat_bytes > kMaxRepeatBytes)
    return LIBUSB_ERROR_INVALID_PARAM;
  const size_t count = memory.ByteLength() / static_cast<size_t>(slot_bytes);
  if (count < 1 || count > kMaxSlots) return LIBUSB_ERROR_INVALID_PARAM;
  memory_ = memory.Data();
  slot_bytes_ = slot_bytes;
  repeat_bytes_ = repeat_bytes;
  tells_repeats_ = false;
  for (size_t i = 0; i < count; i++) {
    libusb_transfer* usb = libusb_alloc_transfer(0);
    if (usb == nullptr) {
      Close();
      return LIBUSB_ERROR_NO_MEM;
    }
    slots_.push_back(std::make_unique<Slot>(Slot{this, static_cast<int32_t>(i), usb, 0, 0, false}));
    usb->dev_handle = device;
    usb->endpoint = static_cast<uint8_t>(endpoint);
    usb->type = static_cast<uint8_t>(type);
    usb->timeout = 0;  // deadlines are the USB stack's: it cancels
    usb->buffer = memory_ + i * static_cast<size_t>(slot_bytes);
    usb->callback = OnEnd;
    usb->user_data = slots_.back().get();
  }
  pinned_ = Napi::Persistent(memory);
  open_ = true;
  return LIBUSB_SUCCESS;
}

int Reads::Start(int index, int bytes, uint32_t era) {
  if (index < 0 || static_cast<size_t>(index) >= slots_.size() || bytes < 1 || bytes > slot_bytes_)
    return LIBUSB_ERROR_INVALID_PARAM;
  Slot* slot = slots_[static_cast<size_t>(index)].get();
  if (slot->in_flight) return LIBUSB_ERROR_BUSY;
  cancelled_ = false;
  slot->era = era;
  slot->order = started_++;
  slot->usb->length = bytes;
  slot->usb->actual_length = 0;
  const int rc = libusb_submit_transfer(slot->usb);
  slot->in_flight = rc == LIBUSB_SUCCESS;
  if (slot->in_flight) in_flight_++;
  return rc;
}

void Reads::Cancel() {
  cancelled_ = true;
  std::vector<Slot*> queue;
  for (const auto& slot : slots_)
    if (slot->in_flight) queue.push_back(slot.get());
  // What was queued behind a read must not take its place on the bus.
  std::sort(queue.begin(), queue.end(), [](const Slot* a, const Slot* b) { return a->order > b->order; });
  for (Slot* slot : queue) libusb_cancel_transfer(slot->usb);
}

void Reads::Close() {
  for (const auto& slot : slots_) libusb_free_transfer(slot->usb);
  slots_.clear();
  pinned_.Reset();
  last_.clear();
  open_ = false;
}

void LIBUSB_CALL Reads::OnEnd(libusb_transfer* usb) {
  auto* slot = static_cast<Slot*>(usb->user_data);
  slot->reads->Ended(slot);
}

void Reads::Ended(Slot* slot) {
  libusb_transfer* usb = slot->usb;
  int32_t status = usb->status;
  int32_t actual_bytes = usb->actual_length;
  if (status == LIBUSB_TRANSFER_COMPLETED && Repeats(usb)) {
    slot->order = started_++;
    const int rc = libusb_submit_transfer(usb);
    if (rc == LIBUSB_SUCCESS) return;
    status = rc;
    actual_bytes = 0;
  }
  slot->in_flight = false;
  in_flight_--;
  port_->Note(TransferResult{kFirstResult + number_ * kMaxSlots + slot->index, status, actual_bytes, usb->length,
                             slot->era, {}});
}

bool Reads::Repeats(const libusb_transfer* usb) {
  const int bytes = usb->actual_length;
  if (bytes < 1 || bytes > repeat_bytes_) {
    last_.clear();
    return false;
  }
  const uint64_t now_us = uv_hrtime() / 1000;
  const bool soon = now_us - last_us_ < kRepeatUs;
  const bool same = last_.size() == static_cast<size_t>(bytes) && std::equal(last_.begin(), last_.end(), usb->buffer);
  last_us_ = now_us;
  last_.assign(usb->buffer, usb->buffer + bytes);
  return same && !soon && !cancelled_ && !tells_repeats_;
}
