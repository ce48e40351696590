#!/bin/bash
# First process of a User Mode Linux guest: the machine's own root, read-only, under an overlay in memory.
# LAB_RUN comes from the kernel's command line as an environment variable.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t tmpfs -o size=90% lab /mnt
mkdir -p /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root || echo "lab: no overlay"
mount -t proc proc /mnt/root/proc
mount -t sysfs sys /mnt/root/sys
mount -t devtmpfs dev /mnt/root/dev
. "$LAB_RUN/session.env"
export LAB_RUN
exec chroot /mnt/root /bin/bash "$LAB_CHECKOUT/lab/guest/session.sh"
