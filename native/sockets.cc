/**
 * Unix stream sockets between the host and a process of its: a connected pair, and the way of a descriptor over one. And sockets that
 * listen, made where the rights for it are, for whoever accepts on them.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

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

/** A stream socket that listens on an address; closed again where that fails. @returns the descriptor, or -errno. */
int Listen(const sockaddr* address, socklen_t bytes, int backlog) {
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  // A port is free again as soon as its server has ended (tcp(7), TIME_WAIT).
  const int on = 1;
  const bool is_tcp = address->sa_family != AF_UNIX;
  if ((!is_tcp || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0) && bind(fd, address, bytes) == 0 &&
      listen(fd, backlog) == 0)
    return fd;
  const int error = errno;
  close(fd);
  return -error;
}

/** listenUnix(path, backlog) → a descriptor, or -errno. The file is its owner's alone (0600) from the first moment on. */
Napi::Value ListenUnix(const Napi::CallbackInfo& info) {
  std::string path;
  int backlog = 0;
  if (!ReadString(info, 0, "path", &path) || !ReadInt(info, 1, "backlog", &backlog)) return {};
  const auto result = [&](int value) { return Napi::Number::New(info.Env(), value); };
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // An empty path, or one that begins with a 0 byte, would be no file (unix(7)).
  if (path.empty() || path.find('\0') != std::string::npos) return result(-EINVAL);
  if (path.size() >= sizeof address.sun_path) return result(-ENAMETOOLONG);
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const mode_t before = umask(0777 & ~0600);
  const int fd = Listen(reinterpret_cast<const sockaddr*>(&address), sizeof address, backlog);
  umask(before);
  return result(fd);
}

/**
 * listenTcp(address, port, backlog) → [descriptor, port], or -errno. `address` is numeric, of IPv4 or IPv6 (inet_pton(3)); port 0: the
 * system chooses, and the answer has what it chose.
 */
Napi::Value ListenTcp(const Napi::CallbackInfo& info) {
  std::string text;
  int port = 0, backlog = 0;
  if (!ReadString(info, 0, "address", &text) || !ReadInt(info, 1, "port", &port) || !ReadInt(info, 2, "backlog", &backlog))
    return {};
  const auto failure = [&](int error) { return Napi::Number::New(info.Env(), -error); };
  if (port < 0 || port > UINT16_MAX) return failure(EINVAL);
  const in_port_t net_port = htons(static_cast<uint16_t>(port));
  union {
    sockaddr_in6 v6;
    sockaddr_in v4;
    sockaddr any;
  } address = {};
  socklen_t bytes;
  if (inet_pton(AF_INET, text.c_str(), &address.v4.sin_addr) == 1) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = net_port;
    bytes = sizeof address.v4;
  } else if (inet_pton(AF_INET6, text.c_str(), &address.v6.sin6_addr) == 1) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = net_port;
    bytes = sizeof address.v6;
  } else {
    return failure(EINVAL);
  }
  const int fd = Listen(&address.any, bytes, backlog);
  if (fd < 0) return failure(-fd);
  if (getsockname(fd, &address.any, &bytes) < 0) {
    const int error = errno;
    close(fd);
    return failure(error);
  }
  const in_port_t bound = address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port;
  auto listening = Napi::Array::New(info.Env(), 2);
  listening.Set(0u, Napi::Number::New(info.Env(), fd));
  listening.Set(1u, Napi::Number::New(info.Env(), ntohs(bound)));
  return listening;
}

/** duplicate(fd) → another descriptor of the same open file, which closes on exec; or -errno. */
Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  int fd = -1;
  if (!ReadInt(info, 0, "fd", &fd)) return {};
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return Napi::Number::New(info.Env(), copy < 0 ? -errno : copy);
}
}  // namespace

void DefineSockets(Napi::Env env, Napi::Object exports) {
  exports["socketpair"] = Napi::Function::New<SocketPair>(env, "socketpair");
  exports["sendFd"] = Napi::Function::New<SendFd>(env, "sendFd");
  exports["recvFd"] = Napi::Function::New<RecvFd>(env, "recvFd");
  exports["listenUnix"] = Napi::Function::New<ListenUnix>(env, "listenUnix");
  exports["listenTcp"] = Napi::Function::New<ListenTcp>(env, "listenTcp");
  exports["duplicate"] = Napi::Function::New<Duplicate>(env, "duplicate");
}
