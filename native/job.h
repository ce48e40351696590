/**
 * A call on the device that blocks in the kernel (claim, reset, clear halt …), run on the thread pool and answered by
 * a promise. The number that the promise gives is libusb's: 0 or more, or a negative error.
 */
#pragma once

#include <libusb.h>
#include <napi.h>

#include <functional>

#include "loop_resource.h"

using BlockingCall = std::function<int(libusb_device_handle*)>;

/**
 * Starts the call. `owner` is pinned until `ended` has run on the JavaScript thread; the promise is left alone when
 * the environment is going.
 */
Napi::Value RunBlocking(Napi::Env env, LoopResource* owner, libusb_device_handle* device, BlockingCall call,
                        std::function<void()> ended);
