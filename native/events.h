/**
 * A libusb context whose descriptors the Node loop watches: no thread, no timer, no polling.
 *
 * libusb names the descriptors it waits for (its event, its timer, each device) and tells when one comes or goes; each
 * gets a poll handle of the owner. Everything here runs on the JavaScript thread.
 */
#pragma once

#include <libusb.h>

#include <map>

#include "loop_resource.h"

class UsbEvents {
 public:
  explicit UsbEvents(LoopResource* owner) : owner_(owner) {}
  ~UsbEvents() { Stop(); }
  UsbEvents(const UsbEvents&) = delete;
  UsbEvents& operator=(const UsbEvents&) = delete;

  /**
   * Makes the context, with no device discovery: the sandbox has no /sys and no /dev. Returns a libusb error;
   * NOT_SUPPORTED when libusb would need a timer of ours (it was built without timerfd).
   */
  int Start();
  /** Ends the context. Every device handle of it must be closed. Idempotent. */
  void Stop();
  /** Handles what is ready, waiting at most `wait_ms` for it. Transfer callbacks run inside. Returns a libusb error. */
  int Handle(int wait_ms);
  /** The device's descriptor: its watcher keeps the process alive, and its removal means that the device has gone. */
  void SetDevice(int fd) { device_fd_ = fd; }
  /** libusb has dropped the device's descriptor, or the loop refused to watch it. */
  bool DeviceDropped() const { return device_dropped_; }
  /** While it is on nothing is heard of the device. */
  void Hold(bool on);
  /** Stops watching the device's descriptor: nothing can be expected of it any more. */
  void DropDevice();

  libusb_context* context() const { return context_; }

 private:
  static void LIBUSB_CALL Added(int fd, short poll_events, void* self);
  static void LIBUSB_CALL Removed(int fd, void* self);

  LoopResource* owner_;
  libusb_context* context_ = nullptr;
  std::map<int, uv_poll_t*> watched_;
  int device_fd_ = -1;
  bool device_dropped_ = false;
};
