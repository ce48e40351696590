#include "job.h"

#include <memory>
#include <utility>

namespace {
struct Job {
  LoopResource* owner = nullptr;
  napi_deferred deferred = nullptr;
  libusb_device_handle* device = nullptr;
  BlockingCall call;
  std::function<void()> ended;
  napi_async_work work = nullptr;
  int result = LIBUSB_ERROR_OTHER;
};

/** On a pool thread: nothing of N-API may be touched here. */
void Execute(napi_env, void* data) {
  auto* job = static_cast<Job*>(data);
  job->result = job->call(job->device);
}

void Complete(napi_env raw_env, napi_status, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  napi_value result = nullptr;
  // Fails when the environment is terminating: nobody waits for the promise any more.
  if (!job->owner->env_ending() && napi_create_int32(raw_env, job->result, &result) == napi_ok)
    napi_resolve_deferred(raw_env, job->deferred, result);
  napi_delete_async_work(raw_env, job->work);
  LoopResource* owner = job->owner;
  job->ended();
  owner->Unpin();
}
}  // namespace

Napi::Value RunBlocking(Napi::Env env, LoopResource* owner, libusb_device_handle* device, BlockingCall call,
                        std::function<void()> ended) {
  auto job = std::make_unique<Job>();
  napi_value promise = nullptr;
  if (napi_create_promise(env, &job->deferred, &promise) != napi_ok) {
    ended();
    return {};
  }
  job->owner = owner;
  job->device = device;
  job->call = std::move(call);
  job->ended = std::move(ended);
  const Napi::String name = Napi::String::New(env, "rumpusb.port");
  owner->Pin();
  if (napi_create_async_work(env, nullptr, name, Execute, Complete, job.get(), &job->work) != napi_ok ||
      napi_queue_async_work(env, job->work) != napi_ok) {
    if (job->work != nullptr) napi_delete_async_work(env, job->work);
    napi_resolve_deferred(env, job->deferred, Napi::Number::New(env, LIBUSB_ERROR_NO_MEM));
    job->ended();
    owner->Unpin();
    return {env, promise};
  }
  job.release();
  return {env, promise};
}
