/**
 * The kernel's hot-plug messages (NETLINK_KOBJECT_UEVENT, multicast group 1), watched by the Node loop. They come also
 * where no udevd runs. Any process with CAP_NET_ADMIN may send to the group: only what the kernel sent (port id 0) is
 * passed on.
 *
 *   new UeventSocket(onDatagram)      onDatagram(bytes: Uint8Array | undefined); undefined = some were lost
 *   open() → 0 or -errno              close()
 */
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "usbfs.h"
#include "watched_object.h"

namespace {
/** The kernel's own limit of one message is UEVENT_BUFFER_SIZE, 2 KiB, and a header. */
constexpr size_t kDatagramBytes = 8192;
/** The most taken per wake-up, so that a storm of messages leaves the loop its turn. */
constexpr int kMaxPerWakeUp = 32;

class UeventSocket : public WatchedObject<UeventSocket> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "UeventSocket", {InstanceMethod<&UeventSocket::OpenSocket>("open"),
                                             InstanceMethod<&UeventSocket::Close>("close")});
  }

  explicit UeventSocket(const Napi::CallbackInfo& info)
      : WatchedObject<UeventSocket>(info, "onDatagram", "rumpusb.uevents") {}

 protected:
  void OnReady(int) override {
    const Napi::HandleScope scope(Env());
    for (int i = 0; i < kMaxPerWakeUp && fd() >= 0; i++) {
      sockaddr_nl sender = {};
      iovec part = {datagram_, sizeof datagram_};
      msghdr message = {};
      message.msg_name = &sender;
      message.msg_namelen = sizeof sender;
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      const ssize_t bytes = recvmsg(fd(), &message, MSG_DONTWAIT);
      if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
      // ENOBUFS: the receive buffer overflowed. Any other error of this socket loses messages just the same.
      if (bytes < 0) return listener().Call(Env(), {Env().Undefined()});
      if (message.msg_namelen != sizeof sender || sender.nl_pid != 0) continue;
      const bool whole = (message.msg_flags & MSG_TRUNC) == 0;
      listener().Call(Env(), {whole ? NewUint8Array(Env(), datagram_, static_cast<size_t>(bytes))
                                    : static_cast<napi_value>(Env().Undefined())});
    }
  }

 private:
  Napi::Value OpenSocket(const Napi::CallbackInfo& info) {
    if (!MayOpen(info.Env(), "socket")) return {};
    const int made = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    if (made < 0) return Napi::Number::New(info.Env(), -errno);
    sockaddr_nl group = {};
    group.nl_family = AF_NETLINK;
    group.nl_groups = 1;
    if (bind(made, reinterpret_cast<sockaddr*>(&group), sizeof group) < 0) {
      const int error = errno;
      close(made);
      return Napi::Number::New(info.Env(), -error);
    }
    int result = Adopt(made);
    if (result == 0 && !WatchFor(UV_READABLE)) {
      CloseDescriptor();
      result = -EIO;
    }
    return Napi::Number::New(info.Env(), result);
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    CloseDescriptor();
    return info.Env().Undefined();
  }

  uint8_t datagram_[kDatagramBytes];
};
}  // namespace

void DefineUevents(Napi::Env env, Napi::Object exports) { exports["UeventSocket"] = UeventSocket::Define(env); }
