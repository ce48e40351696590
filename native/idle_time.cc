/**
 * Leaves out what the event loop measures for nobody.
 *
 * Node has libuv add up how long its loop waits (UV_METRICS_IDLE_TIME, for performance.eventLoopUtilization). For that every wait is two
 * calls into the kernel, of which the first does not wait, and three readings of the clock more. libuv can be told to begin with
 * it, and not to end it, so the flag is taken from where it keeps it: the first word of its own part of the loop, if that is where it
 * appears in a loop made for the purpose.
 */
#include <napi.h>
#include <uv.h>

#include "usbfs.h"

namespace {
unsigned* FlagsOf(uv_loop_t* loop) { return static_cast<unsigned*>(loop->internal_fields); }

/** The bit by which a loop is told to measure; 0 when this libuv keeps it somewhere else. */
unsigned IdleTimeFlag() {
  uv_loop_t sample;
  if (uv_loop_init(&sample) != 0) return 0;
  const unsigned before = *FlagsOf(&sample);
  const bool configured = uv_loop_configure(&sample, UV_METRICS_IDLE_TIME) == 0;
  const unsigned after = *FlagsOf(&sample);
  uv_loop_close(&sample);
  return configured && before == 0 ? after : 0;
}

/** forgoIdleTime() → whether the loop of this environment did measure, and does not any more. */
Napi::Value ForgoIdleTime(const Napi::CallbackInfo& info) {
  uv_loop_t* loop = nullptr;
  const unsigned flag = napi_get_uv_event_loop(info.Env(), &loop) == napi_ok ? IdleTimeFlag() : 0;
  const bool measures = flag != 0 && (*FlagsOf(loop) & flag) == flag;
  if (measures) *FlagsOf(loop) &= ~flag;
  return Napi::Boolean::New(info.Env(), measures);
}
}  // namespace

void DefineIdleTime(Napi::Env env, Napi::Object exports) {
  exports["forgoIdleTime"] = Napi::Function::New<ForgoIdleTime>(env, "forgoIdleTime");
}
