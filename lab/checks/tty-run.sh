# The programs that people use on serial lines, on the terminals that `rumpusb run` makes of the kernel's own ACM gadget, whose other
# end sends back what it hears: stty, picocom, socat, pyserial, by CUSE and on a pseudo terminal.
module cuse cdc-acm usbmon
CHECK_SECONDS=120
modem acm
wait_for 10 "ttyGS0" test -c /dev/ttyGS0
allow acm

# begin LINK PATH: a run with this link, the terminal's path is in LAB_TMP/path; the other end is an echo; usbmon writes to LAB_TMP/mon.
begin() {
  local root=()
  [ "$1" != tty-cuse ] || root=(--root)
  kill_rumpusb || true # what a failed check has left
  socat FILE:/dev/ttyGS0,raw,echo=0 EXEC:cat 2>/dev/null &
  echo $! >"$LAB_TMP/echo.pid"
  /usr/bin/python3 "$LAB_ROOT/lab/guest/usbmon.py" >"$LAB_TMP/mon" &
  echo $! >"$LAB_TMP/mon.pid"
  start_run "${root[@]}" main --take --link "$1" "$(bus_path acm)"
  field main '.event == "link" and .node == "ttyU0"' path >"$LAB_TMP/path"
}
finish() {
  stop main
  kill "$(cat "$LAB_TMP/echo.pid")" "$(cat "$LAB_TMP/mon.pid")"
}
path() { cat "$LAB_TMP/path"; }
# sent REQUEST: usbmon has seen it.
sent() { grep -qx "$1" "$LAB_TMP/mon"; }

by_stty() {
  begin "$1"
  # SET_LINE_CODING (PSTN 1.2 Table 17): rate, stop bits, parity, data bits. A pseudo terminal keeps 8 data bits and no parity.
  stty -F "$(path)" 38400 cstopb "${@:3}"
  wait_for 5 "38400 on the wire" sent "21 20 0000 0000 00960000$2"
  [ "$(stty -F "$(path)" speed)" = 38400 ] || fail "speed $(stty -F "$(path)" speed)"
  finish
}
by_picocom() {
  begin "$1"
  timeout 30 picocom --quiet --baud 57600 --initstring typed --exit-after 2000 "$(path)" >"$LAB_TMP/picocom" 2>&1 || fail "picocom: $(cat "$LAB_TMP/picocom")"
  grep -q typed "$LAB_TMP/picocom" || fail "picocom showed: $(cat "$LAB_TMP/picocom")"
  wait_for 5 "57600 on the wire" sent "21 20 0000 0000 00e10000000008"
  finish
}
by_socat() {
  begin "$1"
  random_file "$LAB_TMP/sent" 100k
  timeout 60 socat -t 3 - "$(path),raw,echo=0,b115200" <"$LAB_TMP/sent" >"$LAB_TMP/back"
  same_bytes "$LAB_TMP/sent" "$LAB_TMP/back"
  finish
}
by_pyserial() {
  begin "$1"
  PATH_OF_LINE=$(path) /usr/bin/python3 -c '
import os, serial, threading
p = os.environ["PATH_OF_LINE"]
s = serial.Serial(p, 230400, timeout=20)
data = os.urandom(100000); got = bytearray()
t = threading.Thread(target=lambda: s.write(data)); t.start()
while len(got) < len(data):
    part = s.read(min(4096, len(data) - len(got)))
    assert part, len(got)
    got += part
t.join(); assert bytes(got) == data
s.baudrate = 300
s.close()
'
  wait_for 5 "230400 on the wire" sent "21 20 0000 0000 00840300000008"
  wait_for 5 "300 on the wire" sent "21 20 0000 0000 2c010000000008"
  wait_for 5 "DTR and RTS down" sent "21 22 0000 0000"
  finish
}

for link in tty-cuse pty; do
  if [ "$link" = pty ]; then check "pty, stty" by_stty pty 020008; else
    check "tty-cuse, stty" by_stty tty-cuse 020207 cs7 parenb -parodd
  fi
  ! have "$link, picocom" picocom || check "$link, picocom, bytes there and back" by_picocom "$link"
  ! have "$link, socat" socat || check "$link, socat, 100 kB there and back" by_socat "$link"
  check "$link, pyserial, 100 kB there and back, settings, lines" by_pyserial "$link"
done
