# libusb 1.0 as a static library, from the sources that the npm package "usb" carries.
# Differs from that package's own gyp file: netlink instead of libudev, and eventfd and timerfd, so that
# libusb_pollfds_handle_timeouts() is true and the Node loop can drive everything without a timer.
{
  "targets": [{
    "target_name": "libusb",
    "type": "static_library",
    "variables": {
      "usb_dir": "<!(node -p \"require('path').relative('.', require('path').dirname(require.resolve('usb/package.json')))\")"
    },
    "sources": [
      "<(usb_dir)/libusb/libusb/core.c",
      "<(usb_dir)/libusb/libusb/descriptor.c",
      "<(usb_dir)/libusb/libusb/hotplug.c",
      "<(usb_dir)/libusb/libusb/io.c",
      "<(usb_dir)/libusb/libusb/strerror.c",
      "<(usb_dir)/libusb/libusb/sync.c",
      "<(usb_dir)/libusb/libusb/os/events_posix.c",
      "<(usb_dir)/libusb/libusb/os/threads_posix.c",
      "<(usb_dir)/libusb/libusb/os/linux_usbfs.c",
      "<(usb_dir)/libusb/libusb/os/linux_netlink.c"
    ],
    "include_dirs": ["<(usb_dir)/libusb_config", "<(usb_dir)/libusb/libusb", "<(usb_dir)/libusb/libusb/os"],
    "direct_dependent_settings": { "include_dirs": ["<(usb_dir)/libusb/libusb"] },
    "cflags": ["-w", "-fvisibility=hidden"],
    "defines": [
      "_GNU_SOURCE=1",
      "OS_LINUX=1",
      "PLATFORM_POSIX=1",
      "DEFAULT_VISIBILITY=",
      "ENABLE_LOGGING=1",
      "PRINTF_FORMAT(a, b)=__attribute__ ((__format__ (__printf__, a, b)))",
      "HAVE_ASM_TYPES_H=1",
      "HAVE_CLOCK_GETTIME=1",
      "HAVE_EVENTFD=1",
      "HAVE_LINUX_NETLINK_H=1",
      "HAVE_NFDS_T=1",
      "HAVE_PIPE2=1",
      "HAVE_POLL_H=1",
      "HAVE_PTHREAD_CONDATTR_SETCLOCK=1",
      "HAVE_PTHREAD_SETNAME_NP=1",
      "HAVE_SYS_TIME_H=1",
      "HAVE_TIMERFD=1"
    ]
  }]
}
