#!/usr/bin/python3
"""A program on a serial line whose far end sends back what it hears, for bench/serial-lab.sh. Prints one line of JSON.

    serial-lab.py DEVICE quick|paced SECONDS MODEL

MODEL is the process of the simulated device.

quick: bytes a second there and back without a pause, then one byte there and back, with the latency that drivers call low.
paced: what of the processor is used while bytes go both ways in the time of the rate, by all but the device and this program; with the
latency that drivers have by themselves.
"""
import array, fcntl, json, os, select, statistics, sys, termios, threading, time

TIOCGSERIAL, TIOCSSERIAL, ASYNC_LOW_LATENCY = 0x541E, 0x541F, 0x2000
FLAGS = 4  # of struct serial_struct, in words
BLOCK = 4096
ROUND_TRIPS = 100


def opened(path, low_latency):
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    state = termios.tcgetattr(fd)
    state[0] = state[1] = state[3] = 0
    state[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
    state[4] = state[5] = termios.B115200
    state[6][termios.VMIN], state[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, state)
    if not low_latency:
        return fd
    try:
        serial = array.array("i", [0] * 18)
        fcntl.ioctl(fd, TIOCGSERIAL, serial)
        serial[FLAGS] |= ASYNC_LOW_LATENCY
        fcntl.ioctl(fd, TIOCSSERIAL, serial)
    except OSError:
        pass  # a driver that knows no such thing has no latency to lower
    return fd


def jiffies():
    """@returns those in which something ran that is neither the device nor this program, and all of them."""
    with open("/proc/stat") as stat:
        times = [int(word) for word in stat.readline().split()[1:9]]
    apart = 0
    for pid in (sys.argv[4], "self"):
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        apart += int(fields[11]) + int(fields[12])
    return sum(times) - times[3] - times[4] - apart, sum(times)


class Stream:
    """Writes without a pause in a thread of its own."""

    def __init__(self, fd):
        self.fd, self.over = fd, False
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def write(self):
        while not self.over:
            os.write(self.fd, b"U" * BLOCK)

    def read(self, seconds):
        """@returns bytes a second."""
        begin, count = time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            count += len(os.read(self.fd, BLOCK))
        return count / (time.monotonic() - begin)

    def end(self):
        self.over = True
        while self.thread.is_alive() or select.select([self.fd], [], [], 1)[0]:
            if select.select([self.fd], [], [], 0.1)[0]:
                os.read(self.fd, BLOCK)


path, mode, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
fd = opened(path, mode == "quick")
stream = Stream(fd)
stream.read(seconds / 2)  # what is compiled or settles first
if mode == "quick":
    per_second = stream.read(seconds)
    stream.end()
    times = []
    for _ in range(ROUND_TRIPS):
        begin = time.monotonic()
        os.write(fd, b"x")
        os.read(fd, 1)
        times.append(time.monotonic() - begin)
    print(json.dumps({"bytesPerSecond": per_second, "oneByteMs": statistics.median(times) * 1000}))
else:
    busy, total = jiffies()
    per_second = stream.read(seconds)
    busy_after, total_after = jiffies()
    print(json.dumps({"bytesPerSecond": per_second, "busy": (busy_after - busy) / (total_after - total)}), flush=True)
    stream.over = True
    os._exit(0)  # without waiting for what is still on its way
