# QEMU's serial adapters, which are FT232BM chips (0403:6001, and 0403:fe72 with a braille display behind it), driven by our uftdi through
# the pseudo terminal; the far end of the line is the host's. `--with usb-serial --with usb-braille`.
module xhci-pci
wait_for 10 "QEMU's serial adapter" device_folder serial

# program TTY STEP…
program() { /usr/bin/python3 "$LAB_ROOT/lab/guest/tty.py" "$@"; }
# pty NAME [NODE]: where the pseudo terminal of a run is.
pty() { uri "$1" "${2:-ttyU0}" | sed 's|^file://||'; }
hex() { printf '%s' "$1" | od -An -tx1 | tr -d ' \n'; }

# words ID: a word each way, on the run that is named so. The program's comes first: what arrives before it opens is thrown away.
words() {
  local heard
  program "$(pty "$1")" open set:57600,8N1 send:"to $1" expect:"from $1" close &
  heard=$(host heard "$1" $((3 + ${#1})))
  [ "$heard" = "$(hex "to $1")" ] || fail "the far end of $1 heard $heard"
  host say "$1" "$(hex "from $1")" >/dev/null
  wait "$!"
}

serial() {
  allow serial
  start_run serial @serial
  words serial
}
check "QEMU's usb-serial, a word each way" serial

echoed() {
  host echo serial >/dev/null
  program "$(pty serial)" open set:115200,8N1 loop:5000 close
}
check "QEMU's usb-serial, 5000 bytes echoed by the far end" echoed

serial_ended() { stop serial; }
check "ended with status 0, nothing left" serial_ended

braille() {
  # It is plugged in while the far end is open.
  host say braille >/dev/null
  allow braille
  start_run braille --driver-id 0403:fe72=uftdi @braille
  words braille
  stop braille
}
check "QEMU's usb-braille, whose ids no driver lists, by --driver-id" braille
