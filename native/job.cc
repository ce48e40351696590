#include "job.h"

#include <memory>
#include <utility>

namespace {
struct Job {
  Job(Napi::Env env, LoopResource* job_owner) : owner(job_owner), deferred(Napi::Promise::Deferred::New(env)) {}

  LoopResource* owner;
  Napi::Promise::Deferred deferred;
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
  if (!job->owner->env_ending()) {
    const Napi::HandleScope scope(raw_env);
    job->deferred.Resolve(Napi::Number::New(raw_env, job->result));
  }
  napi_delete_async_work(raw_env, job->work);
  LoopResource* owner = job->owner;
  job->ended();
  owner->Unpin();
}
}  // namespace

Napi::Value RunBlocking(Napi::Env env, LoopResource* owner, libusb_device_handle* device, BlockingCall call,
                        std::function<void()> ended) {
  auto job = std::make_unique<Job>(env, owner);
  job->device = device;
  job->call = std::move(call);
  job->ended = std::move(ended);
  const Napi::Promise promise = job->deferred.Promise();
  const Napi::String name = Napi::String::New(env, "rumpusb.port");
  owner->Pin();
  if (napi_create_async_work(env, nullptr, name, Execute, Complete, job.get(), &job->work) != napi_ok ||
      napi_queue_async_work(env, job->work) != napi_ok) {
    if (job->work != nullptr) napi_delete_async_work(env, job->work);
    job->deferred.Resolve(Napi::Number::New(env, LIBUSB_ERROR_NO_MEM));
    job->ended();
    owner->Unpin();
    return promise;
  }
  job.release();
  return promise;
}
