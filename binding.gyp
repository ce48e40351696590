{
  "target_defaults": {
    "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden", "-fstack-protector-strong"],
    "ldflags": ["-Wl,-z,relro,-z,now"]
  },
  "targets": [
    {
      "target_name": "rumpusb",
      "sources": [
        "native/addon.cc",
        "native/arguments.cc",
        "native/chain.cc",
        "native/device_file.cc",
        "native/events.cc",
        "native/forget.cc",
        "native/idle_time.cc",
        "native/job.cc",
        "native/listener.cc",
        "native/lock.cc",
        "native/loop_resource.cc",
        "native/memory.cc",
        "native/port.cc",
        "native/port_calls.cc",
        "native/port_chains.cc",
        "native/port_reads.cc",
        "native/random.cc",
        "native/reads.cc",
        "native/reserve.cc",
        "native/sockets.cc",
        "native/transfer.cc",
        "native/uevents.cc",
        "native/usbfs.cc"
      ],
      "dependencies": ["native/libusb.gyp:libusb"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags_cc": ["-std=c++17", "-Wno-cast-function-type"],
      "ldflags": [
        "-Wl,--exclude-libs,ALL",
        "-Wl,--version-script=<(module_root_dir)/native/exports.map"
      ]
    },
    {
      "target_name": "sandbox-probe",
      "sources": ["native/probe.cc", "native/lock.cc", "native/arguments.cc"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "RUMPUSB_PROBE_ERRNO=4000"
      ],
      "cflags_cc": ["-std=c++17", "-Wno-cast-function-type"]
    },
    {
      "target_name": "rumpusb-keeper",
      "type": "executable",
      "sources": ["native/keeper.c"],
      "defines": ["_GNU_SOURCE=1"]
    },
    {
      "target_name": "rumpusb-launcher",
      "type": "executable",
      "sources": ["native/launcher.c", "native/first_filter.c"]
    }
  ]
}
