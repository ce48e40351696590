#!/usr/bin/python3
"""A program that has a tty open and does to it, in turn, what its arguments say.

    tty.py [--model EVENTS COMMANDS] [--record] DEVICE STEP…

EVENTS is what `rumpusb vdev --json --requests` prints, COMMANDS a FIFO that it reads. With --record the requests that
each step brought are printed after it, as `40 03 4138 0000` (bmRequestType, bRequest, wValue, wIndex) and the data stage.

Steps:
  open                   raw, the settings as the kernel has them; before it nothing is open
  close
  set:BAUD,8N1[,rtscts]  any rate (termios2); data bits, parity N O E M S, stop bits
  is:BAUD                what the driver answers: the rate that the device makes, give or take 3 percent
  raise:LINE lower:LINE  dtr or rts
  lines:WORDS            the input lines that are up (cts,dsr,dcd,ri), within a second; `lines:` none
  break:on break:off
  loop:BYTES             writes so many, reads them back, compares
  send:TEXT expect:TEXT  one way
  counts:frame=1,brk=2   the driver's counters at least, within a second: rng rx tx frame overrun parity brk
  mark:on mark:off       damaged characters are marked (INPCK, PARMRK)
  drop                   what was received and not read
  marked:HEX             what is read next, damaged characters as `ff00` and the character
  made:9600,7E2,dtr,rts  what the model's line is like, within a second; more words: rtsCts, xonXoff, break
  say:COMMAND            to the model
  to:FILE from:FILE      writes the file; reads so many bytes and compares
  wait:MS
"""
import errno, fcntl, json, os, random, select, struct, sys, termios, time

TCGETS2, TCSETS2 = 0x802C542A, 0x402C542B
TIOCMGET, TIOCMBIS, TIOCMBIC, TIOCSBRK, TIOCCBRK, TIOCGICOUNT = 0x5415, 0x5416, 0x5417, 0x5427, 0x5428, 0x545D
INPCK, PARMRK = 0o020, 0o010
BOTHER, CSIZE, CSTOPB, PARENB, PARODD = 0o010000, 0o060, 0o100, 0o400, 0o1000
CBAUD, CREAD, CLOCAL, HUPCL, CMSPAR, CRTSCTS = 0o010017, 0o200, 0o4000, 0o2000, 0o10000000000, 0o20000000000
TERMIOS2 = "4IB19s2I"
PARITIES = {"N": 0, "O": PARENB | PARODD, "E": PARENB, "M": PARENB | PARODD | CMSPAR, "S": PARENB | CMSPAR}
OUTPUTS = {"dtr": 0x002, "rts": 0x004}
INPUTS = {"cts": 0x020, "dcd": 0x040, "ri": 0x080, "dsr": 0x100}
COUNTS = ["cts", "dsr", "rng", "dcd", "rx", "tx", "frame", "overrun", "parity", "brk", "buf_overrun"]
STALLED_SECONDS = 30


class Wrong(Exception):
    pass


class Line:
    def __init__(self, path, model):
        self.path, self.fd, self.model = path, -1, model

    def open(self, _):
        self.fd = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        _, _, cflag, _, *rest = self.termios()
        # Raw: no echo, no line editing, no translation; CLOCAL so that a missing carrier holds nothing.
        self.set_termios(0, 0, cflag | CREAD | CLOCAL | HUPCL, 0, *rest)

    def mark(self, text):
        _, *rest = self.termios()
        self.set_termios(INPCK | PARMRK if text == "on" else 0, *rest)

    def drop(self, _):
        termios.tcflush(self.fd, termios.TCIFLUSH)

    def close(self, _):
        os.close(self.fd)
        self.fd = -1

    def termios(self):
        return struct.unpack(TERMIOS2, fcntl.ioctl(self.fd, TCGETS2, bytes(44)))

    def set_termios(self, *values):
        fcntl.ioctl(self.fd, TCSETS2, struct.pack(TERMIOS2, *values))

    def set(self, text):
        baud, frame, *flow = text.split(",")
        iflag, oflag, cflag, lflag, line, cc, _, _ = self.termios()
        cflag &= ~(CBAUD | CSIZE | CSTOPB | PARENB | PARODD | CMSPAR | CRTSCTS)
        cflag |= BOTHER | (int(frame[0]) - 5) << 4 | PARITIES[frame[1]] | (CSTOPB if frame[2:] == "2" else 0)
        cflag |= CRTSCTS if flow == ["rtscts"] else 0
        self.set_termios(iflag, oflag, cflag, lflag, line, cc, int(baud), int(baud))

    def is_(self, text):
        baud = self.termios()[7]
        if abs(baud - int(text)) > 0.03 * int(text):
            raise Wrong(f"the driver makes {baud} baud of {text}")

    def raise_(self, line):
        fcntl.ioctl(self.fd, TIOCMBIS, struct.pack("I", OUTPUTS[line]))

    def lower(self, line):
        fcntl.ioctl(self.fd, TIOCMBIC, struct.pack("I", OUTPUTS[line]))

    def lines(self, text):
        wanted = {word for word in text.split(",") if word}

        def is_so():
            (bits,) = struct.unpack("I", fcntl.ioctl(self.fd, TIOCMGET, bytes(4)))
            up = {name for name, bit in INPUTS.items() if bits & bit}
            return None if up == wanted else f"lines up: {sorted(up)}, not {sorted(wanted)}"

        within_a_second(is_so)

    def break_(self, text):
        fcntl.ioctl(self.fd, TIOCSBRK if text == "on" else TIOCCBRK)

    def counts(self, text):
        wanted = {name: int(number) for name, number in (word.split("=") for word in text.split(","))}

        def is_so():
            numbers = struct.unpack("20i", fcntl.ioctl(self.fd, TIOCGICOUNT, bytes(80)))
            now = dict(zip(COUNTS, numbers))
            return None if all(now[name] >= least for name, least in wanted.items()) else f"counters: {now}"

        within_a_second(is_so)

    def loop(self, text):
        data = random.Random(int(text)).randbytes(int(text))
        self.transfer(data, data)

    def send(self, text):
        self.transfer(text.encode(), b"")

    def expect(self, text):
        self.transfer(b"", text.encode())

    def to(self, path):
        with open(path, "rb") as file:
            self.transfer(file.read(), b"")

    def from_(self, path):
        with open(path, "rb") as file:
            self.transfer(b"", file.read())

    def transfer(self, out, expected):
        got = bytearray()
        while out or len(got) < len(expected):
            ready = select.select([self.fd], [self.fd] if out else [], [], STALLED_SECONDS)
            if ready[0]:
                got += os.read(self.fd, 65536)
            if ready[1]:
                out = out[self.write(out[:4096]) :]
            if not (ready[0] or ready[1]):
                raise Wrong(f"nothing for {STALLED_SECONDS} s: {len(got)} of {len(expected)} came, {len(out)} unsent")
        if got != expected:
            at = next((n for n, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
            raise Wrong(f"{len(got)} bytes for {len(expected)}, different from byte {at}: {got[at:at+8].hex()}")

    def write(self, data):
        try:
            return os.write(self.fd, data)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return 0

    def marked(self, text):
        self.transfer(b"", bytes.fromhex(text))

    def made(self, text):
        wanted = text.split(",")
        baud = int(wanted.pop(0))

        def is_so():
            line = self.model.line()
            made = line and [
                f"{line['dataBits']}{line['parity'][0].upper()}{line['stopBits']}",
                *(name for name in ("rtsCts", "xonXoff") if line["flowControl"] == name),
                *(name for name, up in (("dtr", line["dtr"]), ("rts", line["rts"]), ("break", line["breaking"])) if up),
            ]
            return None if made == wanted and abs(line["baud"] - baud) <= 0.03 * baud else f"the model's line is {line}"

        within_a_second(is_so)

    def say(self, text):
        self.model.say(text)

    def wait(self, text):
        time.sleep(int(text) / 1000)


def within_a_second(problem):
    end = time.monotonic() + 1
    while (wrong := problem()) is not None:
        if time.monotonic() > end:
            raise Wrong(wrong)
        time.sleep(0.02)


class Model:
    QUIET_SECONDS = 0.1

    def __init__(self, events, commands):
        self.path, self.commands, self.at = events, commands, 0

    def events(self, size=None):
        with open(self.path) as file:
            file.seek(self.at)
            return [json.loads(line) for line in file.read(size).splitlines(True) if line.endswith("\n")]

    def line(self):
        with open(self.path) as file:
            lines = [line for line in file if line.startswith('{"event":"line"') and line.endswith("\n")]
        return json.loads(lines[-1]) if lines else None

    def say(self, text):
        with open(self.commands, "w") as file:
            file.write(text + "\n")

    def record(self, title):
        """Prints the requests that came since the last call, once nothing more comes."""
        size = -1
        while size != (size := os.path.getsize(self.path)):
            time.sleep(self.QUIET_SECONDS)
        events = self.events(size - self.at)
        self.at = size
        print(f"# {title}")
        for event in events:
            if event["event"] != "request":
                continue
            request_type = int(event["setup"][:2], 16)
            # Of the standard requests only CLEAR_FEATURE(ENDPOINT_HALT) is a driver's.
            if (request_type & 0x60) == 0 and event["setup"][:5] != "02 01":
                continue
            # An answer is the device's, not the driver's.
            words = [event["setup"], "" if request_type & 0x80 else event["data"]]
            print(" ".join(filter(None, [*words, "" if event["status"] == "ok" else event["status"]])))


def main(args):
    model, record = None, False
    while args[0].startswith("--"):
        if args[0] == "--model":
            model, args = Model(*args[1:3]), args[3:]
        elif args[0] == "--record":
            record, args = True, args[1:]
    if record:
        model.record("attach")
    line = Line(args[0], model)
    for step in args[1:]:
        name, _, value = step.partition(":")
        method = {"is": line.is_, "raise": line.raise_, "break": line.break_, "from": line.from_}.get(name) or getattr(line, name)
        try:
            method(value)
        except (OSError, Wrong) as error:
            sys.exit(f"{step}: {error}")
        if record:
            model.record(step)


main(sys.argv[1:])
