#include "loop_resource.h"

#include <poll.h>

namespace {
/** A poll handle with its way back. Owned by the loop from Watch until the close callback. */
struct Watched {
  uv_poll_t poll;
  LoopResource* owner;
  int fd;
  int events;
  void (*ready)(LoopResource* owner, int fd);
};

// libuv stops a handle whose descriptor shows POLLERR and calls back with an error status; libusb polls again itself
// and sees the same, so the status carries nothing more.
int StartPoll(Watched* watched) {
  return uv_poll_start(&watched->poll, watched->events, [](uv_poll_t* handle, int, int) {
    auto* ready = static_cast<Watched*>(handle->data);
    ready->ready(ready->owner, ready->fd);
  });
}
}  // namespace

bool LoopResource::Open() {
  if (napi_add_async_cleanup_hook(env_, OnEnvironmentEnd, this, &hook_) != napi_ok) return false;
  Pin();
  return true;
}

void LoopResource::Unpin() {
  if (--pins_ > 0) return;
  if (hook_ != nullptr) napi_remove_async_cleanup_hook(hook_);
  hook_ = nullptr;
  Released();
}

void LoopResource::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* self) {
  auto* resource = static_cast<LoopResource*>(self);
  resource->env_ending_ = true;
  resource->Shutdown();
}

uv_poll_t* LoopResource::Watch(int fd, int uv_events, bool keeps_alive) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return nullptr;
  auto* watched = new Watched{{}, this, fd, uv_events, [](LoopResource* owner, int ready_fd) { owner->OnReady(ready_fd); }};
  if (uv_poll_init(loop, &watched->poll, fd) != 0) {
    delete watched;
    return nullptr;
  }
  watched->poll.data = watched;
  Pin();
  if (StartPoll(watched) != 0) {
    Unwatch(&watched->poll);
    return nullptr;
  }
  if (!keeps_alive) uv_unref(reinterpret_cast<uv_handle_t*>(&watched->poll));
  return &watched->poll;
}

void LoopResource::Hold(uv_poll_t* poll, bool on) {
  if (on)
    uv_poll_stop(poll);
  else
    StartPoll(static_cast<Watched*>(poll->data));
}

void LoopResource::Unwatch(uv_poll_t* poll) {
  uv_poll_stop(poll);
  uv_close(reinterpret_cast<uv_handle_t*>(poll), [](uv_handle_t* handle) {
    auto* watched = static_cast<Watched*>(handle->data);
    LoopResource* owner = watched->owner;
    delete watched;
    owner->Unpin();
  });
}

bool LoopResource::LoopHasEvents() const {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
  if (uv_backend_timeout(loop) == 0) return true;
  // libuv's descriptor is an epoll instance, which is readable when one of those that it watches is ready.
  pollfd state = {uv_backend_fd(loop), POLLIN, 0};
  return poll(&state, 1, 0) > 0;
}
