#!/usr/bin/python3
"""Prints the control requests on every bus as the kernel submits them, from /dev/usbmon0 (Documentation/usb/usbmon.rst):
`21 20 0000 0000 00e10000020207` is bmRequestType, bRequest, wValue, wIndex and the data stage."""
import os, struct

# id, type, transfer type, endpoint, device, bus, setup flag, data flag, seconds, microseconds, status, length, captured, setup
HEADER = struct.Struct("=QBBBBHccqiiII8s")
SUBMITTED, CONTROL = ord("S"), 2

fd = os.open("/dev/usbmon0", os.O_RDONLY)


def read(count):
    data = b""
    while len(data) < count:
        data += os.read(fd, count - len(data))
    return data


while True:
    _, kind, transfer, _, _, _, has_setup, _, _, _, _, _, captured, setup = HEADER.unpack(read(HEADER.size))
    data = read(captured)
    if kind != SUBMITTED or transfer != CONTROL or has_setup != b"\0":
        continue
    request_type, request, value, index, _ = struct.unpack("<BBHHH", setup)
    print(f"{request_type:02x} {request:02x} {value:04x} {index:04x} {data.hex()}".rstrip(), flush=True)
