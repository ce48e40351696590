/**
 * The kernel driver's side of an interface, through usbfs (linux/usbdevice_fs.h): who drives it, take it away, give it
 * back, and confine a descriptor. Synchronous; 0 or more is success, a negative number is -errno.
 */
#include "usbfs.h"

#include <linux/usbdevice_fs.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"

namespace {
int Negated(int rc) { return rc < 0 ? -errno : rc; }

int DriverIoctl(int fd, int interface_number, int request) {
  usbdevfs_ioctl command = {};
  command.ifno = interface_number;
  command.ioctl_code = request;
  return Negated(ioctl(fd, USBDEVFS_IOCTL, &command));
}

/** kernelDriver(fd, interface) → the driver's name, or -errno (-ENODATA: none is bound). */
Napi::Value KernelDriver(const Napi::CallbackInfo& info) {
  int fd = -1;
  int interface_number = 0;
  if (!ReadInt(info, 0, "fd", &fd) || !ReadInt(info, 1, "interfaceNumber", &interface_number)) return {};
  usbdevfs_getdriver query = {};
  query.interface = static_cast<unsigned>(interface_number);
  const int rc = Negated(ioctl(fd, USBDEVFS_GETDRIVER, &query));
  if (rc < 0) return Napi::Number::New(info.Env(), rc);
  return Napi::String::New(info.Env(), query.driver, strnlen(query.driver, sizeof query.driver));
}

/** detachKernelDriver(fd, interface) → 0 or -errno (-ENODATA: none was bound). */
Napi::Value DetachKernelDriver(const Napi::CallbackInfo& info) {
  int fd = -1;
  int interface_number = 0;
  if (!ReadInt(info, 0, "fd", &fd) || !ReadInt(info, 1, "interfaceNumber", &interface_number)) return {};
  return Napi::Number::New(info.Env(), DriverIoctl(fd, interface_number, USBDEVFS_DISCONNECT));
}

/** attachKernelDriver(fd, interface) → 1 a driver was bound, 0 none wants it, or -errno (-EBUSY: somebody has it). */
Napi::Value AttachKernelDriver(const Napi::CallbackInfo& info) {
  int fd = -1;
  int interface_number = 0;
  if (!ReadInt(info, 0, "fd", &fd) || !ReadInt(info, 1, "interfaceNumber", &interface_number)) return {};
  return Napi::Number::New(info.Env(), DriverIoctl(fd, interface_number, USBDEVFS_CONNECT));
}

/** dropPrivileges(fd, mask) → 0 or -errno. From then on the descriptor claims the mask's interfaces only. */
Napi::Value DropPrivileges(const Napi::CallbackInfo& info) {
  int fd = -1;
  int mask = 0;
  if (!ReadInt(info, 0, "fd", &fd) || !ReadInt(info, 1, "interfaceMask", &mask)) return {};
  auto allowed = static_cast<__u32>(mask);
  return Napi::Number::New(info.Env(), Negated(ioctl(fd, USBDEVFS_DROP_PRIVILEGES, &allowed)));
}
}  // namespace

void DefineUsbfs(Napi::Env env, Napi::Object exports) {
  exports["kernelDriver"] = Napi::Function::New<KernelDriver>(env, "kernelDriver");
  exports["detachKernelDriver"] = Napi::Function::New<DetachKernelDriver>(env, "detachKernelDriver");
  exports["attachKernelDriver"] = Napi::Function::New<AttachKernelDriver>(env, "attachKernelDriver");
  exports["dropPrivileges"] = Napi::Function::New<DropPrivileges>(env, "dropPrivileges");
}
