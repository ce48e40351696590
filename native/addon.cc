/** The addon's exports. src/rumpuser/real/addon.ts is the only file that loads it, and gives every export its type. */
#include <libusb.h>
#include <napi.h>

#include <string>

#include "port.h"
#include "usbfs.h"

namespace {
Napi::Object Init(Napi::Env env, Napi::Object exports) {
  const libusb_version* version = libusb_get_version();
  const std::string text =
      std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->micro);
  exports["libusbVersion"] = Napi::String::New(env, text);
  exports["Port"] = Port::Define(env);
  DefineUsbfs(env, exports);
  DefineSockets(env, exports);
  DefineUevents(env, exports);
  DefineDeviceFile(env, exports);
  DefineRandom(env, exports);
  DefineLock(env, exports);
  DefineMemory(env, exports);
  DefineIdleTime(env, exports);
  DefineReserve(env, exports);
  DefineForget(env, exports);
  return exports;
}
}  // namespace

NODE_API_MODULE(rumpusb, Init)
