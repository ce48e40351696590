#include "events.h"

#include <poll.h>
#include <sys/time.h>

int UsbEvents::Start() {
  libusb_init_option options[1] = {};
  options[0].option = LIBUSB_OPTION_NO_DEVICE_DISCOVERY;
  const int rc = libusb_init_context(&context_, options, 1);
  if (rc != LIBUSB_SUCCESS) {
    context_ = nullptr;
    return rc;
  }
  if (libusb_pollfds_handle_timeouts(context_) == 0) return LIBUSB_ERROR_NOT_SUPPORTED;
  const libusb_pollfd** fds = libusb_get_pollfds(context_);
  if (fds == nullptr) return LIBUSB_ERROR_NO_MEM;
  for (const libusb_pollfd** fd = fds; *fd != nullptr; fd++) Added((*fd)->fd, (*fd)->events, this);
  libusb_free_pollfds(fds);
  libusb_set_pollfd_notifiers(context_, Added, Removed, this);
  return LIBUSB_SUCCESS;
}

void UsbEvents::Stop() {
  if (context_ == nullptr) return;
  libusb_set_pollfd_notifiers(context_, nullptr, nullptr, nullptr);
  for (const auto& [fd, poll] : watched_) owner_->Unwatch(poll);
  watched_.clear();
  libusb_exit(context_);
  context_ = nullptr;
}

int UsbEvents::Handle(int wait_ms) {
  timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};
  return libusb_handle_events_timeout_completed(context_, &wait, nullptr);
}

void UsbEvents::Hold(bool on) {
  const auto found = watched_.find(device_fd_);
  if (found != watched_.end()) LoopResource::Hold(found->second, on);
}

void UsbEvents::DropDevice() {
  if (device_fd_ >= 0) Removed(device_fd_, this);
  device_dropped_ = true;
}

void LIBUSB_CALL UsbEvents::Added(int fd, short poll_events, void* self) {
  auto* events = static_cast<UsbEvents*>(self);
  const int uv_events = ((poll_events & POLLIN) ? UV_READABLE : 0) | ((poll_events & POLLOUT) ? UV_WRITABLE : 0);
  uv_poll_t* poll = events->owner_->Watch(fd, uv_events, fd == events->device_fd_);
  if (poll != nullptr)
    events->watched_[fd] = poll;
  else if (fd == events->device_fd_)
    events->device_dropped_ = true;
}

void LIBUSB_CALL UsbEvents::Removed(int fd, void* self) {
  auto* events = static_cast<UsbEvents*>(self);
  if (fd == events->device_fd_) events->device_dropped_ = true;
  const auto found = events->watched_.find(fd);
  if (found == events->watched_.end()) return;
  events->owner_->Unwatch(found->second);
  events->watched_.erase(found);
}
