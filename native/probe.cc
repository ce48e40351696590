/**
 * sandbox-probe: system calls by number, to try out what a sandbox lets pass. Loaded by `rumpusb sandbox` and by tests, never
 * by a rump process. Its `lock` is that of lock.cc with one difference: what would be killed is answered with kRefused, so that
 * one process can try every number.
 */
#include <napi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "usbfs.h"

namespace {
constexpr size_t kMaxArguments = 6;
constexpr size_t kMaxCalls = 4096;

struct Call {
  long number = 0;
  long arguments[kMaxArguments] = {};
  long result = 0;
  void Make() {
    const long* a = arguments;
    const long rc = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    result = rc < 0 ? -errno : rc;
  }
};

/** Calls with the memory that their arguments point to. */
struct Calls {
  std::vector<Call> all;
  std::vector<std::unique_ptr<std::string>> memory;
  void Make() {
    for (Call& call : all) call.Make();
  }
};

/** [number, argument…]: a number, a string (its address, ended by a zero), or bytes (the address of the array's own memory). */
bool ReadCall(Napi::Env env, const Napi::Value& value, Calls* calls) {
  const auto refuse = [&] {
    Napi::TypeError::New(env, "a call is [number, up to 6 numbers, strings or Uint8Arrays]").ThrowAsJavaScriptException();
    return false;
  };
  if (!value.IsArray()) return refuse();
  const auto parts = value.As<Napi::Array>();
  if (parts.Length() < 1 || parts.Length() > 1 + kMaxArguments || calls->all.size() >= kMaxCalls) return refuse();
  Call call;
  for (uint32_t i = 0; i < parts.Length(); i++) {
    const Napi::Value part = parts.Get(i);
    long* const to = i == 0 ? &call.number : &call.arguments[i - 1];
    if (part.IsNumber()) {
      *to = static_cast<long>(part.As<Napi::Number>().Int64Value());
    } else if (part.IsString() && i > 0) {
      calls->memory.push_back(std::make_unique<std::string>(part.As<Napi::String>().Utf8Value()));
      *to = reinterpret_cast<long>(calls->memory.back()->c_str());
    } else if (part.IsTypedArray() && i > 0) {
      *to = reinterpret_cast<long>(part.As<Napi::Uint8Array>().Data());
    } else {
      return refuse();
    }
  }
  calls->all.push_back(call);
  return true;
}

Napi::Array Results(Napi::Env env, const Calls& calls) {
  auto results = Napi::Array::New(env, calls.all.size());
  for (uint32_t i = 0; i < calls.all.size(); i++)
    results.Set(i, Napi::Number::New(env, static_cast<double>(calls.all[i].result)));
  return results;
}

bool ReadCalls(const Napi::CallbackInfo& info, Calls* calls) {
  if (!info[0].IsArray()) {
    Napi::TypeError::New(info.Env(), "argument 0 (calls) must be an array").ThrowAsJavaScriptException();
    return false;
  }
  const auto list = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++)
    if (!ReadCall(info.Env(), list.Get(i), calls)) return false;
  return true;
}

/** calls([[number, argument…]…]) → [result or -errno …], on this thread. */
Napi::Value MakeCalls(const Napi::CallbackInfo& info) {
  Calls calls;
  if (!ReadCalls(info, &calls)) return {};
  calls.Make();
  return Results(info.Env(), calls);
}

class PoolWork : public Napi::AsyncWorker {
 public:
  PoolWork(Napi::Env env, Calls calls) : AsyncWorker(env), deferred_(env), calls_(std::move(calls)) {}
  Napi::Promise Promise() { return deferred_.Promise(); }
  void Execute() override { calls_.Make(); }
  void OnOK() override { deferred_.Resolve(Results(Env(), calls_)); }

 private:
  Napi::Promise::Deferred deferred_;
  Calls calls_;
};

/** The same on a thread of libuv's pool, as a promise; numbers and strings only. */
Napi::Value MakeCallsOnPool(const Napi::CallbackInfo& info) {
  Calls calls;
  if (!ReadCalls(info, &calls)) return {};
  auto* work = new PoolWork(info.Env(), std::move(calls));
  work->Queue();
  return work->Promise();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports["calls"] = Napi::Function::New<MakeCalls>(env, "calls");
  exports["callsOnPool"] = Napi::Function::New<MakeCallsOnPool>(env, "callsOnPool");
  DefineLock(env, exports);
  return exports;
}
}  // namespace

NODE_API_MODULE(sandbox_probe, Init)
