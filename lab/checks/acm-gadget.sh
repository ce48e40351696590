# The kernel's own ACM gadget (its other end is /dev/ttyGS0), driven by our umodem: bytes both ways through the pseudo terminal, and what
# a program sets on it on the wire, as usbmon sees it.
module cdc-acm usbmon
CHECK_SECONDS=120
modem acm
wait_for 10 "ttyGS0" test -c /dev/ttyGS0
allow acm
random_file "$LAB_TMP/up" 200k
random_file "$LAB_TMP/down" 200k

# program TTY STEP…
program() { /usr/bin/python3 "$LAB_ROOT/lab/guest/tty.py" "$@"; }
# pty NAME [NODE]: where the pseudo terminal of a run is.
pty() { uri "$1" "${2:-ttyU0}" | sed 's|^file://||'; }
driven_by_kernel() { kernel_driver_is acm cdc_acm; }

begin() {
  wait_for 10 "cdc_acm" driven_by_kernel
  start_run main --grace 60 --take "$(bus_path acm)"
  [ -c "$(pty main)" ] || fail "no terminal $(pty main)"
  program "$(pty main)" open close
}
check "taken from cdc_acm, a terminal is there" begin

up() {
  program "$(pty main)" open from:"$LAB_TMP/up" close &
  local reader=$!
  program /dev/ttyGS0 open wait:500 to:"$LAB_TMP/up"
  wait "$reader"
}
check "what ttyGS0 writes arrives" up

down() {
  program /dev/ttyGS0 open from:"$LAB_TMP/down" &
  local reader=$!
  program "$(pty main)" open wait:500 to:"$LAB_TMP/down" wait:1000
  wait "$reader"
}
check "what is written arrives at ttyGS0" down

# sent REQUEST: usbmon has seen it.
sent() { grep -qx "$1" "$LAB_TMP/mon"; }
on_the_wire() {
  local mon
  /usr/bin/python3 "$LAB_ROOT/lab/guest/usbmon.py" >"$LAB_TMP/mon" &
  mon=$!
  program "$(pty main)" open wait:1000 set:57600,8N2 wait:500 set:12345,8N1 wait:500 close
  # SET_LINE_CODING (PSTN 1.2 §6.3.10), and SET_CONTROL_LINE_STATE: up at open, down after the last close.
  # A pseudo terminal of Linux keeps 8 data bits and no parity, whatever is set.
  wait_for 5 "57600 8N2" sent "21 20 0000 0000 00e10000020008"
  wait_for 5 "12345 8N1" sent "21 20 0000 0000 39300000000008"
  wait_for 5 "DTR and RTS up" sent "21 22 0003 0000"
  wait_for 5 "DTR and RTS down" sent "21 22 0000 0000"
  kill "$mon"
}
check "settings and lines reach the gadget" on_the_wire

unplugged() {
  program "$(pty main)" open wait:3000 from:"$LAB_TMP/up" close &
  local reader=$!
  sleep 0.5
  unplug acm
  wait_event main '.event == "unplug"'
  plug acm
  allow acm
  wait_event main '.event == "replug"'
  program /dev/ttyGS0 open wait:1000 to:"$LAB_TMP/up"
  wait "$reader"
}
check "unplugged and back, the terminal goes on" unplugged

given_back() {
  stop main
  wait_for 15 "cdc_acm drives it again" driven_by_kernel
}
check "the kernel's driver has it again" given_back
