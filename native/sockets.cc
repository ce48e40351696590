/** Unix stream sockets between the host and a rump process: a connected pair, and the way of a descriptor over one. */
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "usbfs.h"

namespace {
/**
 * socketpair(bufferBytes) → [fd, fd], or -errno. Both close on exec. `bufferBytes` above 0 asks for that much send
 * buffer each way; the kernel doubles it and cuts it at net.core.wmem_max without an error.
 */
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  int buffer_bytes = 0;
  if (!ReadInt(info, 0, "bufferBytes", &buffer_bytes)) return {};
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) return Napi::Number::New(info.Env(), -errno);
  for (const int fd : fds) {
    if (buffer_bytes <= 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes) == 0) continue;
    const int error = errno;
    close(fds[0]);
    close(fds[1]);
    return Napi::Number::New(info.Env(), -error);
  }
  auto pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, Napi::Number::New(info.Env(), fds[0]));
  pair.Set(1u, Napi::Number::New(info.Env(), fds[1]));
  return pair;
}

/** One byte of data with room for one descriptor beside it (unix(7), SCM_RIGHTS; cmsg(3)). */
struct Parcel {
  char byte = 0;
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  Parcel() {
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
};

/** sendFd(socket, fd) → 0 or -errno. The receiver gets a copy; `fd` stays open here. */
Napi::Value SendFd(const Napi::CallbackInfo& info) {
  int socket = -1, fd = -1;
  if (!ReadInt(info, 0, "socket", &socket) || !ReadInt(info, 1, "fd", &fd)) return {};
  Parcel parcel;
  cmsghdr* header = CMSG_FIRSTHDR(&parcel.message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ssize_t sent;
  do sent = sendmsg(socket, &parcel.message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return Napi::Number::New(info.Env(), sent < 0 ? -errno : 0);
}

/**
 * recvFd(socket, placeholder) → the descriptor, or -errno (-EPIPE: the peer has gone, -EBADMSG: no descriptor came, -EMFILE: this process
 * may have no more; what was sent is gone). Waits.
 * `placeholder` is closed first: where it is the lowest descriptor but those that stay open, the received one gets its
 * number, which a filter can therefore name beforehand. -1: none.
 */
Napi::Value RecvFd(const Napi::CallbackInfo& info) {
  int socket = -1, placeholder = -1;
  if (!ReadInt(info, 0, "socket", &socket) || !ReadInt(info, 1, "placeholder", &placeholder)) return {};
  const auto result = [&](int value) { return Napi::Number::New(info.Env(), value); };
  if (placeholder >= 0 && close(placeholder) < 0) return result(-errno);
  Parcel parcel;
  ssize_t got;
  do got = recvmsg(socket, &parcel.message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return result(-errno);
  if (got == 0) return result(-EPIPE);
  const cmsghdr* header = CMSG_FIRSTHDR(&parcel.message);
  if (header == nullptr && (parcel.message.msg_flags & MSG_CTRUNC) != 0) return result(-EMFILE);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int)))
    return result(-EBADMSG);
  int fd = -1;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return result(fd);
}
}  // namespace

void DefineSockets(Napi::Env env, Napi::Object exports) {
  exports["socketpair"] = Napi::Function::New<SocketPair>(env, "socketpair");
  exports["sendFd"] = Napi::Function::New<SendFd>(env, "sendFd");
  exports["recvFd"] = Napi::Function::New<RecvFd>(env, "recvFd");
}
