#include "transfer.h"

#include <algorithm>
#include <climits>
#include <cstring>

Transfer::~Transfer() {
  if (usb_ != nullptr) libusb_free_transfer(usb_);
}

bool Transfer::Reserve(size_t iso_packets) {
  if (usb_ != nullptr && iso_packets <= iso_capacity_) return true;
  libusb_transfer* larger = libusb_alloc_transfer(static_cast<int>(iso_packets));
  if (larger == nullptr) return false;
  if (usb_ != nullptr) libusb_free_transfer(usb_);
  usb_ = larger;
  iso_capacity_ = iso_packets;
  return true;
}

int Transfer::Prepare(libusb_device_handle* device, TransferRequest& request, libusb_transfer_cb_fn done) {
  const size_t bytes = request.data.ByteLength();
  if (request.type < LIBUSB_TRANSFER_TYPE_CONTROL || request.type > LIBUSB_TRANSFER_TYPE_BULK_STREAM ||
      request.endpoint < 0 || request.endpoint > 0xff || request.stream_id < 0 || bytes > INT_MAX ||
      request.iso_packet_bytes.size() > kMaxIsoPackets)
    return LIBUSB_ERROR_INVALID_PARAM;
  if (!Reserve(request.iso_packet_bytes.size())) return LIBUSB_ERROR_NO_MEM;

  const bool out = (request.endpoint & LIBUSB_ENDPOINT_IN) == 0;
  data_ = request.data.Data();
  usb_->dev_handle = device;
  usb_->flags = request.send_zlp && out ? LIBUSB_TRANSFER_ADD_ZERO_PACKET : 0;
  usb_->endpoint = static_cast<uint8_t>(request.endpoint);
  usb_->type = static_cast<uint8_t>(request.type);
  usb_->timeout = 0;  // deadlines are the USB stack's: it cancels
  usb_->length = static_cast<int>(bytes);
  usb_->actual_length = 0;
  usb_->callback = done;
  usb_->user_data = this;
  usb_->buffer = data_;
  usb_->num_iso_packets = 0;

  int rc = LIBUSB_SUCCESS;
  if (request.type == LIBUSB_TRANSFER_TYPE_CONTROL) rc = PrepareControl(request);
  if (request.type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS) rc = PrepareIsochronous(request);
  if (request.type == LIBUSB_TRANSFER_TYPE_BULK_STREAM)
    libusb_transfer_set_stream_id(usb_, static_cast<uint32_t>(request.stream_id));
  if (rc == LIBUSB_SUCCESS) pinned_ = Napi::Persistent(request.data);
  return rc;
}

/** The kernel moves wLength bytes, whatever the length of the memory is: the memory must hold them (USB 2.0 §9.3.5). */
int Transfer::PrepareControl(TransferRequest& request) {
  if (!request.has_setup || request.setup.ByteLength() != LIBUSB_CONTROL_SETUP_SIZE) return LIBUSB_ERROR_INVALID_PARAM;
  const uint8_t* setup = request.setup.Data();
  const size_t length = static_cast<size_t>(setup[6]) | static_cast<size_t>(setup[7]) << 8;
  const bool in = (setup[0] & LIBUSB_ENDPOINT_IN) != 0;
  const size_t bytes = request.data.ByteLength();
  if (length > kMaxControlBytes || (in ? bytes < length : bytes != length)) return LIBUSB_ERROR_INVALID_PARAM;
  staging_.resize(LIBUSB_CONTROL_SETUP_SIZE + length);
  std::memcpy(staging_.data(), setup, LIBUSB_CONTROL_SETUP_SIZE);
  if (!in && length > 0) std::memcpy(staging_.data() + LIBUSB_CONTROL_SETUP_SIZE, data_, length);
  usb_->buffer = staging_.data();
  usb_->length = static_cast<int>(staging_.size());
  usb_->flags = 0;
  return LIBUSB_SUCCESS;
}

int Transfer::PrepareIsochronous(const TransferRequest& request) {
  const auto& packets = request.iso_packet_bytes;
  size_t total = 0;
  for (const unsigned bytes : packets) {
    if (bytes > INT_MAX) return LIBUSB_ERROR_INVALID_PARAM;
    total += bytes;
  }
  if (packets.empty() || total > request.data.ByteLength()) return LIBUSB_ERROR_INVALID_PARAM;
  usb_->num_iso_packets = static_cast<int>(packets.size());
  usb_->length = static_cast<int>(total);
  for (size_t i = 0; i < packets.size(); i++) {
    usb_->iso_packet_desc[i].length = packets[i];
    usb_->iso_packet_desc[i].actual_length = 0;
    usb_->iso_packet_desc[i].status = LIBUSB_TRANSFER_COMPLETED;
  }
  return LIBUSB_SUCCESS;
}

int Transfer::Start(uint32_t era) {
  era_ = era;
  const int rc = libusb_submit_transfer(usb_);
  in_flight_ = rc == LIBUSB_SUCCESS;
  if (!in_flight_) pinned_.Reset();
  return rc;
}

int Transfer::Cancel() { return in_flight_ ? libusb_cancel_transfer(usb_) : LIBUSB_ERROR_NOT_FOUND; }

TransferResult Transfer::Finish() {
  TransferResult result{slot_, usb_->status, usb_->actual_length, 0, era_, {}};
  const bool control = usb_->type == LIBUSB_TRANSFER_TYPE_CONTROL;
  const bool isochronous = usb_->type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS;
  if (!control && !isochronous) result.asked_bytes = usb_->length;
  if (control && (staging_[0] & LIBUSB_ENDPOINT_IN) != 0) {
    const size_t room = staging_.size() - LIBUSB_CONTROL_SETUP_SIZE;
    const size_t bytes = std::min(room, static_cast<size_t>(std::max(0, usb_->actual_length)));
    if (bytes > 0) std::memcpy(data_, staging_.data() + LIBUSB_CONTROL_SETUP_SIZE, bytes);
  }
  if (isochronous) {
    result.iso.reserve(static_cast<size_t>(usb_->num_iso_packets) * 2);
    int32_t total = 0;
    for (int i = 0; i < usb_->num_iso_packets; i++) {
      const auto& packet = usb_->iso_packet_desc[i];
      result.iso.push_back(packet.status);
      result.iso.push_back(static_cast<int32_t>(packet.actual_length));
      total += static_cast<int32_t>(packet.actual_length);
    }
    result.actual_bytes = total;
  }
  pinned_.Reset();
  in_flight_ = false;
  return result;
}
