/**
 * A JavaScript object with one descriptor that the Node loop watches, and one function that is told of it. It may be opened
 * once; it is closed by JavaScript, or when its environment ends.
 */
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string>

#include "arguments.h"
#include "listener.h"
#include "loop_resource.h"

template <typename Derived>
class WatchedObject : public Napi::ObjectWrap<Derived>, public LoopResource {
 protected:
  /** The function is argument 0, called `argument` in errors. */
  WatchedObject(const Napi::CallbackInfo& info, const char* argument, const char* resource_name)
      : Napi::ObjectWrap<Derived>(info), LoopResource(info.Env()) {
    Napi::Function function;
    if (ReadFunction(info, 0, argument, &function)) listener_.Set(function, resource_name);
  }

  void Shutdown() override { CloseDescriptor(); }

  void Released() override {
    listener_.Release();
    this->Unref();
  }

  /** False, with an exception, where it has been open before. `what`: "file". */
  bool MayOpen(Napi::Env env, const char* what) {
    if (!opened_) return true;
    Napi::Error::New(env, std::string("this ") + what + " has been opened before").ThrowAsJavaScriptException();
    return false;
  }

  /** The descriptor is the object's from now on, also after a failure. Returns 0 or -errno. */
  int Adopt(int fd) {
    if (!Open()) {
      close(fd);
      return -ENOMEM;
    }
    opened_ = true;
    fd_ = fd;
    this->Ref();
    return 0;
  }

  /** Watches these events of enum uv_poll_event and no others; 0 = none. False: the loop cannot. */
  bool WatchFor(int events) {
    if (poll_ != nullptr) Unwatch(poll_);
    poll_ = events == 0 ? nullptr : Watch(fd_, events, true);
    return events == 0 || poll_ != nullptr;
  }

  void CloseDescriptor() {
    if (fd_ < 0) return;
    WatchFor(0);
    close(fd_);
    fd_ = -1;
    Unpin();
  }

  int fd() const { return fd_; }
  Listener& listener() { return listener_; }

 private:
  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;
  bool opened_ = false;
  Listener listener_;
};
