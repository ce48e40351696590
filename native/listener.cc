#include "listener.h"

#include <cstring>

namespace {
napi_value NewArray(napi_env env, napi_typedarray_type type, const void* from, size_t elements, size_t bytes) {
  void* to = nullptr;
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  if (napi_create_arraybuffer(env, bytes, &to, &buffer) != napi_ok) return nullptr;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return napi_create_typedarray(env, type, elements, buffer, 0, &array) == napi_ok ? array : nullptr;
}
}  // namespace

napi_value NewInt32Array(napi_env env, const std::vector<int32_t>& numbers) {
  return NewArray(env, napi_int32_array, numbers.data(), numbers.size(), numbers.size() * sizeof(int32_t));
}

napi_value NewUint8Array(napi_env env, const void* bytes, size_t count) {
  return NewArray(env, napi_uint8_array, bytes, count, count);
}

void Listener::Set(Napi::Function function, const char* resource_name) {
  const Napi::Env env = function.Env();
  function_ = Napi::Persistent(function);
  napi_async_init(env, nullptr, Napi::String::New(env, resource_name), &context_);
}

void Listener::Release() {
  if (context_ != nullptr) napi_async_destroy(function_.Env(), context_);
  context_ = nullptr;
  function_.Reset();
}

void Listener::Call(napi_env env, std::initializer_list<napi_value> arguments) {
  for (const napi_value argument : arguments)
    if (argument == nullptr) return;
  napi_value receiver = nullptr;
  if (function_.IsEmpty() || napi_get_global(env, &receiver) != napi_ok) return;
  const napi_status status =
      napi_make_callback(env, context_, receiver, function_.Value(), arguments.size(), arguments.begin(), nullptr);
  napi_value thrown = nullptr;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &thrown) == napi_ok)
    napi_fatal_exception(env, thrown);
}
