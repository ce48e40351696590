# Serial lines as this kernel's own devices: /dev/ttyU0 by CUSE, and a pseudo terminal, with the programs that people use on them.
# The line is test/lab/loop-line.mjs, which sends everything back.
module cuse

# serve LINK: in the background; its calls are in LAB_TMP/line.
serve() {
  # One that a failed check has left.
  [ ! -s "$LAB_TMP/line.pid" ] || kill -KILL "$(cat "$LAB_TMP/line.pid")" 2>/dev/null || true
  : >"$LAB_TMP/line"
  "$LAB_NODE" "$LAB_ROOT/test/lab/loop-line.mjs" "$1" "$LAB_TMP" >"$LAB_TMP/line" 2>&1 9>&- &
  echo $! >"$LAB_TMP/line.pid"
  wait_for 20 "line by $1" grep -q "^ready" "$LAB_TMP/line"
}
end_line() { kill -TERM "$(cat "$LAB_TMP/line.pid")" && wait_for 10 "end of the line" test ! -d "/proc/$(cat "$LAB_TMP/line.pid")"; }
# called CALL: the line has had it.
called() {
  wait_for 5 "call $1" grep -qxF "$1" "$LAB_TMP/line" || fail "no call \"$1\": $(tail -n 5 "$LAB_TMP/line")"
}
# python PROGRAM: pyserial; PATH_OF_LINE is the device.
python() { PATH_OF_LINE=$(sed -n 's/^ready //p' "$LAB_TMP/line") /usr/bin/python3 -c "$1"; }

cuse_basics() {
  serve tty-cuse
  [ "$(stat -c %a:%U /dev/ttyU0)" = 600:root ] || fail "mode $(stat -c %a:%U /dev/ttyU0)"
  stty -F /dev/ttyU0 115200 cs7 parenb parodd cstopb crtscts
  called "configure 115200 7 odd 2 rtsCts"
  [ "$(stty -F /dev/ttyU0 speed)" = 115200 ] || fail "speed $(stty -F /dev/ttyU0 speed)"
  stty -F /dev/ttyU0 -a | grep -q "cs7" || fail "$(stty -F /dev/ttyU0 -a)"
  end_line
  [ ! -e /dev/ttyU0 ] || fail "/dev/ttyU0 is still there"
}
check "tty-cuse, /dev/ttyU0 is there, stty sets everything, it goes at the end" cuse_basics

cuse_pyserial() {
  serve tty-cuse
  python '
import os, serial, time
p = os.environ["PATH_OF_LINE"]
s = serial.Serial(p, 250000, bytesize=7, parity="M", stopbits=2, rtscts=True, timeout=5)
s.write(b"hello"); assert s.read(5) == b"hello"
s.rtscts = False; s.parity = "S"; s.baudrate = 31250
assert s.cts and s.dsr and not s.cd and not s.ri
s.rts = False; s.dtr = False
assert not s.cts and not s.dsr
s.send_break(0.1); s.break_condition = True; s.break_condition = False
s.set_low_latency_mode(True)
s.write(b"unread"); time.sleep(0.2); assert s.in_waiting == 6, s.in_waiting
s.reset_input_buffer(); assert s.in_waiting == 0
s.timeout = 0.3; begin = time.time(); assert s.read(1) == b"" and 0.25 < time.time() - begin < 2
s.timeout = None
try:
    serial.Serial(p); raise SystemExit("a second opener was let in")
except serial.SerialException as e: assert "busy" in str(e), e
data = os.urandom(300000); s.timeout = 20; got = bytearray()
import threading
t = threading.Thread(target=lambda: s.write(data)); t.start()
while len(got) < len(data):
    part = s.read(min(4096, len(data) - len(got)))
    assert part, len(got)
    got += part
t.join(); assert bytes(got) == data
s.close()
s = serial.Serial(p, 9600, dsrdtr=False, timeout=1); s.close()
'
  called "configure 250000 7 mark 2 rtsCts"
  called "configure 31250 7 space 2 none"
  called "outputs dtr=false rts=false"
  called "break true"
  called "latency 1"
  end_line
}
check "tty-cuse, pyserial, every setting, modem lines, breaks, 300 kB back unchanged, EBUSY for a second" cuse_pyserial

cuse_waits() {
  serve tty-cuse
  python '
import os, fcntl, termios, signal, threading, struct, array, time, select
p = os.environ["PATH_OF_LINE"]
fd = os.open(p, os.O_RDWR | os.O_NOCTTY)
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
def interrupted(call):
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try: call(); raise SystemExit("not interrupted")
    except Alarm: pass
interrupted(lambda: os.read(fd, 1))
interrupted(lambda: fcntl.ioctl(fd, termios.TIOCMIWAIT, 0x20))
t = threading.Timer(0.3, lambda: fcntl.ioctl(fd, termios.TIOCMBIC, struct.pack("i", 0x4))); t.start()
fcntl.ioctl(fd, termios.TIOCMIWAIT, 0x20); t.join()
counts = array.array("i", [0] * 20); fcntl.ioctl(fd, termios.TIOCGICOUNT, counts); assert counts[0] == 1, counts
assert select.select([fd], [fd], [], 0) == ([], [fd], [])
t = threading.Timer(0.3, lambda: os.write(fd, b"x")); t.start()
assert select.select([fd], [], [], 5)[0] == [fd] and os.read(fd, 1) == b"x"; t.join()
try: fcntl.ioctl(fd, 0x5412, b"x"); raise SystemExit("TIOCSTI was taken")
except OSError as e: assert e.errno == 25, e
'
  end_line
}
check "tty-cuse, waits end by a signal, TIOCMIWAIT, poll, unknown ioctls are ENOTTY" cuse_waits

cuse_gone() {
  serve tty-cuse
  python '
import os, signal, select, time
p = os.environ["PATH_OF_LINE"]; pid = int(open(os.environ["LAB_TMP"] + "/line.pid").read())
fd = os.open(p, os.O_RDWR | os.O_NOCTTY)
os.kill(pid, signal.SIGUSR1)
assert select.select([fd], [], [], 5)[0] == [fd] and os.read(fd, 1) == b""
try: os.write(fd, b"x"); raise SystemExit("written")
except OSError as e: assert e.errno == 5, e
os.close(fd)
try: os.open(p, os.O_RDWR); raise SystemExit("opened")
except OSError as e: assert e.errno == 5, e
'
  end_line
}
export LAB_TMP
check "tty-cuse, a device that goes is the end of file, and cannot be opened" cuse_gone

cuse_killed() {
  local holder
  serve tty-cuse
  sleep 60 <>/dev/ttyU0 &
  holder=$!
  called "open 9600"
  kill -KILL "$(cat "$LAB_TMP/line.pid")"
  gone() { [ ! -e /dev/ttyU0 ]; }
  wait_for 10 "end of /dev/ttyU0" gone
  kill "$holder"
  serve tty-cuse
  stty -F /dev/ttyU0 19200
  end_line
}
check "tty-cuse, a killed host leaves nothing, and the name is free again" cuse_killed

cuse_refused() {
  local out
  if out=$(timeout 20 "$LAB_NODE" "$LAB_ROOT/test/lab/loop-line.mjs" tty-cuse=ttyprintk0/../null "$LAB_TMP" 2>&1); then fail "$out"; fi
  grep -q LINK_USAGE <<<"$out" || fail "$out"
  serve tty-cuse=ttyGPS
  [ -c /dev/ttyGPS ] || fail "no /dev/ttyGPS"
  if out=$(timeout 20 "$LAB_NODE" "$LAB_ROOT/test/lab/loop-line.mjs" tty-cuse=ttyGPS "$LAB_TMP" 2>&1); then fail "$out"; fi
  grep -q LINK_IN_USE <<<"$out" || fail "$out"
  end_line
}
check "tty-cuse, a name of one's own; a name that is taken, and one that is none, are refused" cuse_refused

picocom_on() {
  serve "$1"
  local path
  path=$(sed -n 's/^ready //p' "$LAB_TMP/line")
  timeout 30 picocom --quiet --baud 57600 --initstring typed --exit-after 2000 "$path" >"$LAB_TMP/picocom" 2>&1 || fail "picocom: $(cat "$LAB_TMP/picocom")"
  grep -q typed "$LAB_TMP/picocom" || fail "picocom showed: $(cat "$LAB_TMP/picocom")"
  grep -q 57600 "$LAB_TMP/line" || fail "the line: $(cat "$LAB_TMP/line")"
  end_line
}
for link in tty-cuse pty; do
  ! have "$link, picocom" picocom || check "$link, picocom, bytes there and back at its rate" picocom_on "$link"
done

socat_on() {
  serve "$1"
  local path
  path=$(sed -n 's/^ready //p' "$LAB_TMP/line")
  random_file "$LAB_TMP/sent" 100k
  timeout 40 socat -t 3 - "$path,raw,echo=0,b115200" <"$LAB_TMP/sent" >"$LAB_TMP/back"
  same_bytes "$LAB_TMP/sent" "$LAB_TMP/back"
  end_line
}
for link in tty-cuse pty; do
  ! have "$link, socat" socat || check "$link, socat, 100 kB back unchanged" socat_on "$link"
done
