/** A connected pair of Unix stream sockets: the pud channel, one end for the host and one for the rump process. */
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

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
}  // namespace

void DefineSockets(Napi::Env env, Napi::Object exports) {
  exports["socketpair"] = Napi::Function::New<SocketPair>(env, "socketpair");
}
