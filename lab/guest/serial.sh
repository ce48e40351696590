# shellcheck shell=bash
# Simulated serial adapters, imported by the kernel's vhci_hcd and driven by its own drivers. Sourced by the scripts that use them.
module vhci-hcd ftdi_sio cp210x ch341 pl2303 cdc-acm

# serve OPTION…: the model on loopback, as a user, attached to the kernel; its commands are read from LAB_TMP/model.in.
serve() {
  [ -p "$LAB_TMP/model.in" ] || mkfifo -m 600 "$LAB_TMP/model.in"
  chown "$LAB_UID" "$LAB_TMP/model.in"
  abandon
  start --stdin "$LAB_TMP/model.in" model vdev serial --json --requests --listen 127.0.0.1:3240 "$@"
  wait_event model '.event == "listening"'
  usbip attach -r 127.0.0.1 -b 1-1
}
# say COMMAND…: to the model.
say() { echo "$*" >"$LAB_TMP/model.in"; }

# abandon: what a check that failed left behind.
abandon() {
  detach_imported
  kill_rumpusb || true
}

# served: lets the kernel go and ends the server.
served() {
  detach_imported
  wait_for 10 "the kernel's ttys gone" has_ttys 0
  kill -TERM "$(host_pid model)"
  wait_end model
}

ttys() { find /dev -maxdepth 1 -name 'ttyUSB*' -o -maxdepth 1 -name 'ttyACM*' | sort -V; }
has_ttys() { [ "$(ttys | wc -l)" = "$1" ]; }
# driver_of TTY
driver_of() { basename "$(readlink -f "/sys/class/tty/${1#/dev/}/device/driver")"; }
# tty DRIVER [COUNT] [N]: the Nth of COUNT ttys (default: the first of one), which DRIVER must have made.
tty() {
  local found
  wait_for 10 "${2:-1} ttys of the kernel" has_ttys "${2:-1}"
  found=$(ttys | sed -n "$((${3:-0} + 1))p")
  [ "$(driver_of "$found")" = "$1" ] || fail "$found is $(driver_of "$found")'s, not $1's"
  echo "$found"
}

# program TTY STEP…: of lab/guest/tty.py.
program() { /usr/bin/python3 "$LAB_ROOT/lab/guest/tty.py" --model "$LAB_TMP/run.model.events" "$LAB_TMP/model.in" "$@"; }

