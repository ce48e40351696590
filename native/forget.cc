/**
 * Takes a descriptor that nobody reads any more out of the set that the event loop waits for.
 *
 * libuv leaves it there when reading stops, and takes it out when it is ready once more: a stream that rests wakes the process once for
 * nothing, each time. What libuv does then is done here at once; it puts the descriptor in anew when reading goes on.
 */
#include <napi.h>
#include <sys/epoll.h>
#include <uv.h>

#include "arguments.h"
#include "usbfs.h"

namespace {
/** forget(fd): for a descriptor that the loop neither reads nor waits to write to. */
Napi::Value Forget(const Napi::CallbackInfo& info) {
  int fd = -1;
  if (!ReadInt(info, 0, "fd", &fd)) return {};
  uv_loop_t* loop = nullptr;
  // That it is not in the set is no error: as libuv has it.
  if (napi_get_uv_event_loop(info.Env(), &loop) == napi_ok) epoll_ctl(uv_backend_fd(loop), EPOLL_CTL_DEL, fd, nullptr);
  return info.Env().Undefined();
}
}  // namespace

void DefineForget(Napi::Env env, Napi::Object exports) {
  exports["forget"] = Napi::Function::New<Forget>(env, "forget");
}
