/** The methods of Port that block in the kernel, and its class definition. */
#include <algorithm>

#include "arguments.h"
#include "port.h"

namespace {
/** libusb takes endpoint addresses and alternate settings as bytes: what does not fit is refused, not cut. */
bool IsByte(int value) { return value >= 0 && value <= 0xff; }

/** USB 3.2 §9.6.7: at most 2^16 streams, usbfs at most 30 endpoints. */
constexpr int kMaxStreams = 65536;
constexpr size_t kMaxStreamEndpoints = 30;
}  // namespace

Napi::Value Port::Configuration(const Napi::CallbackInfo& info) {
  return Blocking(info.Env(), [](libusb_device_handle* device) {
    int value = 0;
    const int rc = libusb_get_configuration(device, &value);
    return rc == LIBUSB_SUCCESS ? value : rc;
  });
}

Napi::Value Port::SetConfiguration(const Napi::CallbackInfo& info) {
  int value = 0;
  if (!ReadInt(info, 0, "value", &value)) return {};
  return Voiding(info.Env(), [value](libusb_device_handle* device) {
    return IsByte(value) ? libusb_set_configuration(device, value) : LIBUSB_ERROR_INVALID_PARAM;
  });
}

Napi::Value Port::ClaimInterface(const Napi::CallbackInfo& info) {
  int number = 0;
  if (!ReadInt(info, 0, "interfaceNumber", &number)) return {};
  return Blocking(info.Env(),
                  [number](libusb_device_handle* device) { return libusb_claim_interface(device, number); });
}

Napi::Value Port::ReleaseInterface(const Napi::CallbackInfo& info) {
  int number = 0;
  if (!ReadInt(info, 0, "interfaceNumber", &number)) return {};
  return Voiding(info.Env(),
                 [number](libusb_device_handle* device) { return libusb_release_interface(device, number); });
}

Napi::Value Port::SetInterface(const Napi::CallbackInfo& info) {
  int number = 0;
  int alternate = 0;
  if (!ReadInt(info, 0, "interfaceNumber", &number) || !ReadInt(info, 1, "alternateSetting", &alternate)) return {};
  return Voiding(info.Env(), [number, alternate](libusb_device_handle* device) {
    return IsByte(alternate) ? libusb_set_interface_alt_setting(device, number, alternate)
                             : LIBUSB_ERROR_INVALID_PARAM;
  });
}

Napi::Value Port::ClearHalt(const Napi::CallbackInfo& info) {
  int endpoint = 0;
  if (!ReadInt(info, 0, "endpointAddress", &endpoint)) return {};
  return Blocking(info.Env(), [endpoint](libusb_device_handle* device) {
    return IsByte(endpoint) ? libusb_clear_halt(device, static_cast<uint8_t>(endpoint)) : LIBUSB_ERROR_INVALID_PARAM;
  });
}

Napi::Value Port::Reset(const Napi::CallbackInfo& info) {
  return Voiding(info.Env(), [](libusb_device_handle* device) { return libusb_reset_device(device); });
}

Napi::Value Port::AllocStreams(const Napi::CallbackInfo& info) {
  int count = 0;
  Napi::Uint8Array endpoints;
  if (!ReadInt(info, 0, "count", &count) || !ReadBytes(info, 1, "endpoints", &endpoints)) return {};
  const size_t kept = std::min(endpoints.ByteLength(), kMaxStreamEndpoints + 1);
  std::vector<uint8_t> addresses(endpoints.Data(), endpoints.Data() + kept);
  return Blocking(info.Env(), [count, addresses](libusb_device_handle* device) mutable {
    if (count < 1 || count > kMaxStreams || addresses.empty() || addresses.size() > kMaxStreamEndpoints)
      return static_cast<int>(LIBUSB_ERROR_INVALID_PARAM);
    return libusb_alloc_streams(device, static_cast<uint32_t>(count), addresses.data(),
                                static_cast<int>(addresses.size()));
  });
}

Napi::Value Port::FreeStreams(const Napi::CallbackInfo& info) {
  Napi::Uint8Array endpoints;
  if (!ReadBytes(info, 0, "endpoints", &endpoints)) return {};
  const size_t kept = std::min(endpoints.ByteLength(), kMaxStreamEndpoints + 1);
  std::vector<uint8_t> addresses(endpoints.Data(), endpoints.Data() + kept);
  return Blocking(info.Env(), [addresses](libusb_device_handle* device) mutable {
    if (addresses.empty() || addresses.size() > kMaxStreamEndpoints)
      return static_cast<int>(LIBUSB_ERROR_INVALID_PARAM);
    return libusb_free_streams(device, addresses.data(), static_cast<int>(addresses.size()));
  });
}

Napi::Function Port::Define(Napi::Env env) {
  return DefineClass(env, "Port",
                     {InstanceMethod<&Port::OpenDevice>("open"), InstanceMethod<&Port::Submit>("submit"),
                      InstanceMethod<&Port::SubmitChain>("submitChain"),
                      InstanceMethod<&Port::CancelChain>("cancelChain"),
                      InstanceMethod<&Port::OpenReads>("openReads"), InstanceMethod<&Port::StartRead>("startRead"),
                      InstanceMethod<&Port::TellRepeats>("tellRepeats"),
                      InstanceMethod<&Port::CancelReads>("cancelReads"),
                      InstanceMethod<&Port::CloseReads>("closeReads"),
                      InstanceMethod<&Port::Cancel>("cancel"), InstanceMethod<&Port::Speed>("speed"),
                      InstanceMethod<&Port::Close>("close"), InstanceMethod<&Port::Configuration>("configuration"),
                      InstanceMethod<&Port::SetConfiguration>("setConfiguration"),
                      InstanceMethod<&Port::ClaimInterface>("claimInterface"),
                      InstanceMethod<&Port::ReleaseInterface>("releaseInterface"),
                      InstanceMethod<&Port::SetInterface>("setInterface"),
                      InstanceMethod<&Port::ClearHalt>("clearHalt"), InstanceMethod<&Port::Reset>("reset"),
                      InstanceMethod<&Port::AllocStreams>("allocStreams"),
                      InstanceMethod<&Port::FreeStreams>("freeStreams"), InstanceMethod<&Port::Hold>("hold")});
}
