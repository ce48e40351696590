# shellcheck shell=bash
# What bench/serial-lab.mjs runs in the lab's guest: each simulated chip under the kernel's driver, by vhci_hcd, and under ours, by CUSE;
# the program is serial-lab.py, whose lines go out as notes `BENCH …`. Seconds and chips by .lab/bench/serial.
. "$LAB_ROOT/lab/guest/serial.sh"
module cuse
CHECK_SECONDS=900
read -r SECONDS_EACH CHIPS <"$LAB_ROOT/.lab/bench/serial"

declare -A DRIVERS=([acm]=cdc_acm [ft232r]=ftdi_sio [ft232h]=ftdi_sio [cp2104]=cp210x [ch340]=ch341-uart [pl2303-hx]=pl2303)

# told CONTENDER CHIP MODE DEVICE
told() {
  note "BENCH {\"contender\":\"$1\",\"chip\":\"$2\",\"mode\":\"$3\",\"figures\":$(/usr/bin/python3 "$LAB_ROOT/bench/serial-lab.py" "$4" "$3" "$SECONDS_EACH" "$(host_pid model)")}"
}

kernel() { # CHIP MODE OPTION…
  local tty
  serve "chip=$1" "${@:3}"
  tty=$(tty "${DRIVERS[$1]}")
  told kernel "$1" "$2" "$tty"
  served
}

ours() { # CHIP MODE OPTION…
  start model vdev serial --json --listen 127.0.0.1:3240 "chip=$1" "${@:3}"
  wait_event model '.event == "listening"'
  start_run --root main --link tty-cuse usbip:127.0.0.1:3240/1-1
  told rumpusb "$1" "$2" /dev/ttyU0
  kill -TERM "$(host_pid main)"
  wait_end main
  kill -TERM "$(host_pid model)"
  wait_end model
}

measure() {
  local chip contender
  for chip in $CHIPS; do
    for contender in kernel ours; do
      "$contender" "$chip" quick
      "$contender" "$chip" paced paced
    done
  done
}

check "bench" measure
