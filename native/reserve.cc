/**
 * The descriptor that libuv keeps in reserve. Where accept(2) finds that this process may have no more descriptors, libuv closes it, sends
 * away whoever waits, and opens it again by a path (uv__emfile_trick in its src/unix/stream.c). A locked process has no paths, and without
 * the reserve libuv asks for the same client again and again, for ever.
 */
#include <napi.h>
#include <sys/eventfd.h>
#include <uv.h>

#include "usbfs.h"

namespace {
/** keepReserve() → whether it is there. Made anew where it is not, if this process may have one more descriptor. */
Napi::Value KeepReserve(const Napi::CallbackInfo& info) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(info.Env(), &loop) != napi_ok) return Napi::Boolean::New(info.Env(), false);
  if (loop->emfile_fd < 0) loop->emfile_fd = eventfd(0, EFD_CLOEXEC);
  return Napi::Boolean::New(info.Env(), loop->emfile_fd >= 0);
}
}  // namespace

void DefineReserve(Napi::Env env, Napi::Object exports) {
  exports["keepReserve"] = Napi::Function::New<KeepReserve>(env, "keepReserve");
}
