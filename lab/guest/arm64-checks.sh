# Runs in the aarch64 guest under busybox: a locked driver in both profiles reads a simulated stick, and perhaps the escape acts.
B=/bin/busybox
ACTS=$1
export PATH=/usr/bin:/bin HOME=/tmp
$B mkdir -p /dev/shm
for at in /dev/shm /run /tmp; do $B mount -t tmpfs none $at; done
$B ip link set lo up
cd /opt/rumpusb || echo "lab: no checkout"

# locked NAME OPTION…: run, see that it is locked, read 4 MiB, and end in order.
locked() {
  name=$1
  shift
  node bin/rumpusb.js run "$@" --json --runtime-dir /tmp/rt sim:flash-drive,size=8M >/tmp/events 2>/tmp/log &
  host=$!
  for _ in $($B seq 200); do
    $B grep -q '"ready"' /tmp/events && break
    $B kill -0 $host 2>/dev/null || break
    $B sleep 1
  done
  if ! $B grep -q '"level":"full"' /tmp/events; then
    echo "FAIL $name: not at level full: $($B tail -n 3 /tmp/events /tmp/log)"
  elif ! node lab/guest/nbd-read.mjs /tmp/rt/sd0.nbd.sock sd0 4194304; then
    echo "FAIL $name: it does not read"
  else
    $B kill -INT $host
    wait $host && echo "PASS $name: locked at level full, reads, ends in order" || echo "FAIL $name: ended with status $?"
  fi
  $B kill -KILL $host 2>/dev/null
}

locked "aarch64, standard profile"
locked "aarch64, strict profile" --strict
if [ -n "$ACTS" ]; then
  if node bin/rumpusb.js sandbox >/tmp/acts 2>&1; then echo "PASS aarch64: $($B tail -n 1 /tmp/acts)"; else echo "FAIL aarch64, acts: $($B grep escaped /tmp/acts)"; fi
fi
echo "LAB-END"
$B poweroff -f
