/**
 * A JavaScript function that the loop calls: from a handle's callback, with nobody above to catch.
 *
 * The environment may be terminating at any such moment (a worker that is told to end). Then every call into N-API that
 * could run JavaScript fails; there is nobody left to tell, so what was to be said is dropped.
 */
#pragma once

#include <napi.h>

#include <initializer_list>
#include <vector>

class Listener {
 public:
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void Set(Napi::Function function, const char* resource_name);
  /** Lets the function, and everything its closure holds, be collected. */
  void Release();
  /** Calls the function, and runs the microtasks after it. What it throws becomes an uncaught exception. */
  void Call(napi_env env, std::initializer_list<napi_value> arguments);

 private:
  Napi::FunctionReference function_;
  napi_async_context context_ = nullptr;
};

/** A fresh Int32Array with these numbers; null when the environment is terminating. */
napi_value NewInt32Array(napi_env env, const std::vector<int32_t>& numbers);
/** A fresh Uint8Array with these bytes; null when the environment is terminating. */
napi_value NewUint8Array(napi_env env, const void* bytes, size_t count);
