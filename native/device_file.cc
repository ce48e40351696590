/**
 * A descriptor that is neither a socket nor a regular file: a terminal, a character device, a list of file events. Calls do not
 * wait where the descriptor is open without waiting (O_NONBLOCK); the Node loop watches it on demand.
 *
 *   new DeviceFile(onReady)     onReady() each time one of the watched events is there
 *   open(fd) → 0 or -errno      the descriptor is the object's from now on, also after a failure
 *   read(bytes), write(bytes)   → bytes moved or -errno
 *   ioctl(request, argument)    → its result or -errno; `request` has 32 bits, as a signed number; `argument`: a number, or memory
 *                               whose layout the caller knows
 *   ready() → events            that are there now, POLLHUP and POLLERR among them (poll(2))
 *   watch(events)               of enum uv_poll_event; 0 stops. The loop runs on while it watches.
 *   close()                     onReady is not called again
 *
 *   watchFile(path, mask) → an inotify(7) descriptor with this one watch, or -errno
 */
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "arguments.h"
#include "usbfs.h"
#include "watched_object.h"

namespace {
class DeviceFile : public WatchedObject<DeviceFile> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "DeviceFile",
                       {InstanceMethod<&DeviceFile::OpenFile>("open"), InstanceMethod<&DeviceFile::Read>("read"),
                        InstanceMethod<&DeviceFile::Write>("write"), InstanceMethod<&DeviceFile::Ioctl>("ioctl"),
                        InstanceMethod<&DeviceFile::Ready>("ready"), InstanceMethod<&DeviceFile::WatchFile>("watch"),
                        InstanceMethod<&DeviceFile::Close>("close")});
  }

  explicit DeviceFile(const Napi::CallbackInfo& info)
      : WatchedObject<DeviceFile>(info, "onReady", "rumpusb.device-file") {}

 protected:
  void OnReady(int) override {
    const Napi::HandleScope scope(Env());
    listener().Call(Env(), {});
  }

 private:
  Napi::Value OpenFile(const Napi::CallbackInfo& info) {
    int fd = -1;
    if (!ReadInt(info, 0, "fd", &fd) || !MayOpen(info.Env(), "file")) return {};
    return Napi::Number::New(info.Env(), Adopt(fd));
  }

  template <typename Call>
  Napi::Value Move(const Napi::CallbackInfo& info, Call call) {
    Napi::Uint8Array bytes;
    if (!ReadBytes(info, 0, "bytes", &bytes)) return {};
    ssize_t moved;
    do moved = call(fd(), bytes.Data(), bytes.ByteLength());
    while (moved < 0 && errno == EINTR);
    return Napi::Number::New(info.Env(), moved < 0 ? -errno : static_cast<double>(moved));
  }

  Napi::Value Read(const Napi::CallbackInfo& info) { return Move(info, read); }
  Napi::Value Write(const Napi::CallbackInfo& info) { return Move(info, write); }

  Napi::Value Ioctl(const Napi::CallbackInfo& info) {
    int number = 0, result;
    if (!ReadInt(info, 0, "request", &number)) return {};
    const auto request = static_cast<unsigned long>(static_cast<uint32_t>(number));
    if (info[1].IsNumber()) {
      int argument = 0;
      if (!ReadInt(info, 1, "argument", &argument)) return {};
      result = ioctl(fd(), request, static_cast<unsigned long>(argument));
    } else {
      Napi::Uint8Array memory;
      if (!ReadBytes(info, 1, "argument", &memory)) return {};
      result = ioctl(fd(), request, memory.Data());
    }
    return Napi::Number::New(info.Env(), result < 0 ? -errno : result);
  }

  Napi::Value Ready(const Napi::CallbackInfo& info) {
    pollfd asked = {fd(), POLLIN | POLLOUT | POLLPRI, 0};
    const int count = fd() < 0 ? 0 : poll(&asked, 1, 0);
    return Napi::Number::New(info.Env(), count < 0 ? -errno : asked.revents);
  }

  Napi::Value WatchFile(const Napi::CallbackInfo& info) {
    int events = 0;
    if (!ReadInt(info, 0, "events", &events)) return {};
    if (events == events_ || fd() < 0) return info.Env().Undefined();
    const bool watches = WatchFor(events);
    events_ = watches ? events : 0;
    if (!watches)
      Napi::Error::New(info.Env(), "the loop cannot watch this file").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    CloseDescriptor();
    return info.Env().Undefined();
  }

  int events_ = 0;
};

Napi::Value WatchPath(const Napi::CallbackInfo& info) {
  std::string path;
  int mask = 0;
  if (!ReadString(info, 0, "path", &path) || !ReadInt(info, 1, "mask", &mask)) return {};
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return Napi::Number::New(info.Env(), -errno);
  if (inotify_add_watch(fd, path.c_str(), static_cast<uint32_t>(mask)) < 0) {
    const int error = errno;
    close(fd);
    return Napi::Number::New(info.Env(), -error);
  }
  return Napi::Number::New(info.Env(), fd);
}
}  // namespace

void DefineDeviceFile(Napi::Env env, Napi::Object exports) {
  exports["DeviceFile"] = DeviceFile::Define(env);
  exports["watchFile"] = Napi::Function::New<WatchPath>(env, "watchFile");
}
