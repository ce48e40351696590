/** The methods of Port that queue reads (reads.h). */
#include "arguments.h"
#include "port.h"

Reads* Port::FindReads(const Napi::CallbackInfo& info) {
  int number = -1;
  if (!ReadInt(info, 0, "reads", &number)) return nullptr;
  if (number < 0 || static_cast<size_t>(number) >= reads_.size() || !reads_[number]->open()) return nullptr;
  return reads_[number].get();
}

Napi::Value Port::OpenReads(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int type = 0;
  int endpoint = 0;
  int slot_bytes = 0;
  int repeat_bytes = 0;
  Napi::Uint8Array memory;
  if (!ReadInt(info, 0, "type", &type) || !ReadInt(info, 1, "endpoint", &endpoint) ||
      !ReadBytes(info, 2, "memory", &memory) || !ReadInt(info, 3, "slotBytes", &slot_bytes) ||
      !ReadInt(info, 4, "repeatBytes", &repeat_bytes))
    return {};
  if (device_ == nullptr || closing_ || gone_reported_) return Napi::Number::New(env, LIBUSB_ERROR_NO_DEVICE);
  size_t number = 0;
  while (number < reads_.size() && reads_[number]->open()) number++;
  if (number == kMaxReads) return Napi::Number::New(env, LIBUSB_ERROR_NO_MEM);
  if (number == reads_.size()) reads_.push_back(std::make_unique<Reads>(static_cast<int32_t>(number), this));
  const int rc = reads_[number]->Open(device_, type, endpoint, memory, slot_bytes, repeat_bytes);
  return Napi::Number::New(env, rc == LIBUSB_SUCCESS ? static_cast<double>(number) : rc);
}

Napi::Value Port::StartRead(const Napi::CallbackInfo& info) {
  int slot = -1;
  int bytes = 0;
  Reads* reads = FindReads(info);
  if (info.Env().IsExceptionPending() || !ReadInt(info, 1, "slot", &slot) || !ReadInt(info, 2, "bytes", &bytes)) return {};
  int rc = LIBUSB_ERROR_NOT_FOUND;
  if (device_ == nullptr || closing_ || gone_reported_)
    rc = LIBUSB_ERROR_NO_DEVICE;
  else if (reads != nullptr)
    rc = reads->Start(slot, bytes, era_);
  return Napi::Number::New(info.Env(), rc);
}

Napi::Value Port::TellRepeats(const Napi::CallbackInfo& info) {
  Reads* reads = FindReads(info);
  if (info.Env().IsExceptionPending()) return {};
  if (reads != nullptr) reads->TellRepeats(info[1].ToBoolean());
  return Napi::Number::New(info.Env(), reads == nullptr ? LIBUSB_ERROR_NOT_FOUND : LIBUSB_SUCCESS);
}

Napi::Value Port::CancelReads(const Napi::CallbackInfo& info) {
  Reads* reads = FindReads(info);
  if (info.Env().IsExceptionPending()) return {};
  if (reads != nullptr) reads->Cancel();
  return Napi::Number::New(info.Env(), reads == nullptr ? LIBUSB_ERROR_NOT_FOUND : LIBUSB_SUCCESS);
}

Napi::Value Port::CloseReads(const Napi::CallbackInfo& info) {
  Reads* reads = FindReads(info);
  if (info.Env().IsExceptionPending()) return {};
  int rc = LIBUSB_ERROR_NOT_FOUND;
  if (reads != nullptr) rc = reads->in_flight() ? LIBUSB_ERROR_BUSY : LIBUSB_SUCCESS;
  if (rc == LIBUSB_SUCCESS) reads->Close();
  return Napi::Number::New(info.Env(), rc);
}
