#!/bin/busybox sh
# First process of a QEMU guest, from the initial RAM disk: the host's root over 9p, read-only, under an overlay in memory.
# LAB_RUN comes from the kernel's command line as an environment variable.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for m in $($B cat /modules/order); do $B insmod "/modules/$m" || echo "lab: insmod $m failed"; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose root /lower || echo "lab: no 9p root"
$B mount -t tmpfs -o size=75% lab /memory
$B mkdir /memory/upper /memory/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work overlay /root || echo "lab: no overlay"
for m in dev proc sys; do $B mount --move /$m /root/$m; done
. "/root$LAB_RUN/session.env"
export LAB_RUN
exec $B switch_root /root /bin/bash "$LAB_CHECKOUT/lab/guest/session.sh"
