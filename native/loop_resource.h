/**
 * What every native object with handles on the Node loop or work on the thread pool has in common: it must outlive
 * them, and the environment must outlive it.
 *
 * A resource counts its pins: one for being open, one per loop handle until the handle's close callback, one per pool
 * job until its completion. While there are pins, an asynchronous cleanup hook keeps the environment (a worker, or the
 * process) from being torn down under it. State hangs on the object; nothing is global.
 */
#pragma once

#include <napi.h>
#include <uv.h>

class LoopResource {
 public:
  LoopResource(const LoopResource&) = delete;
  LoopResource& operator=(const LoopResource&) = delete;

  void Pin() { pins_++; }
  /** Takes a pin away; the last one ends the resource by `Released`. */
  void Unpin();

  /**
   * Watches a descriptor; each time it is ready `OnReady` is called. Adds a pin until the handle is closed.
   * `keeps_alive`: the handle keeps the process running. Returns null when the loop cannot watch the descriptor.
   */
  uv_poll_t* Watch(int fd, int uv_events, bool keeps_alive);
  /** On: nothing is told of the descriptor, until it is off again; what is ready then is told then. */
  static void Hold(uv_poll_t* poll, bool on);
  /** Stops at once: the descriptor may be closed after the call. The handle is freed by the loop. */
  void Unwatch(uv_poll_t* poll);

  /** Something that the loop watches is ready, also if it is this resource's own; or it would not wait. */
  bool LoopHasEvents() const;

  /** The environment is being torn down: JavaScript cannot be called any more. */
  bool env_ending() const { return env_ending_; }

 protected:
  explicit LoopResource(napi_env env) : env_(env) {}
  virtual ~LoopResource() = default;

  /** Takes the first pin and ties the environment's end to this resource. */
  bool Open();
  /** The environment is going: end everything now, without JavaScript. */
  virtual void Shutdown() = 0;
  /** The last pin has gone: no callback will come. */
  virtual void Released() = 0;
  virtual void OnReady(int fd) = 0;

 private:
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle handle, void* self);

  napi_env env_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  unsigned pins_ = 0;
  bool env_ending_ = false;
};
