#!/bin/busybox sh
# First process of the aarch64 guest: its root over 9p, read-only, under an overlay in memory; then the checks, and power off.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for m in $($B cat /modules/order); do $B insmod "/modules/$m" || echo "lab: insmod $m failed"; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose root /lower || echo "lab: no 9p root"
$B mount -t tmpfs lab /memory
$B mkdir /memory/upper /memory/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work overlay /root || echo "lab: no overlay"
for m in dev proc sys; do $B mount --move /$m /root/$m; done
exec $B switch_root /root /bin/busybox sh /opt/rumpusb/lab/guest/arm64-checks.sh "@ACTS@"
