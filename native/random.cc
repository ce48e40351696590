/** Random bytes, without a library that has to be loaded for them. */
#include <sys/random.h>

#include <cerrno>

#include "arguments.h"
#include "usbfs.h"

namespace {
/** fillRandom(bytes) → 0 or -errno. Blocks until the kernel's source is ready, as it is after boot (getrandom(2)). */
Napi::Value FillRandom(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes;
  if (!ReadBytes(info, 0, "bytes", &bytes)) return {};
  for (size_t filled = 0; filled < bytes.ByteLength();) {
    const ssize_t got = getrandom(bytes.Data() + filled, bytes.ByteLength() - filled, 0);
    if (got >= 0) filled += static_cast<size_t>(got);
    else if (errno != EINTR) return Napi::Number::New(info.Env(), -errno);
  }
  return Napi::Number::New(info.Env(), 0);
}
}  // namespace

void DefineRandom(Napi::Env env, Napi::Object exports) {
  exports["fillRandom"] = Napi::Function::New<FillRandom>(env, "fillRandom");
}
