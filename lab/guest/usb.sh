# shellcheck shell=bash
# USB devices for checks: sticks made with the kernel's own mass_storage gadget on dummy_hcd, and where they appear.

GADGETS=/sys/kernel/config/usb_gadget
GADGET_IDS=1209:0001

# stick NAME [key=value…]: makes a gadget whose serial number is NAME and plugs it in. Its images are LAB_TMP/NAME.0, .1 … with
# random content (`image` prints their names). Keys:
#   size=16M      of each image
#   luns=1        logical units, one image each
#   functions=1   interfaces, each with so many units; the images of the first come first
#   modems=0      CDC-ACM functions, two interfaces each, before the disks
#   blocks=512    block size; another than 512 puts a loop device of that size between
#   ro=0          1: write-protected
#   removable=1
#   udc=0         number of the dummy controller (0 to 2 in uml, 0 in qemu); vudc: exported by USB/IP instead, see `usbipd --device`
#   kernel=0      1: the kernel's usb-storage may take it; 0: it leaves such a device alone
stick() {
  local name=$1 size=16M luns=1 functions=1 modems=0 blocks=512 ro=0 removable=1 udc=0 kernel=0 gadget=$GADGETS/$1 unit image folder key
  shift
  for key in "$@"; do
    [[ $key =~ ^(size|luns|functions|modems|blocks|ro|removable|udc|kernel)=([0-9]+[KM]?|vudc)$ ]] || fail "stick $name: $key is no key with a value"
    local "$key"
  done
  leave_alone_by_kernel "$kernel"
  mkdir "$gadget"
  echo "0x${GADGET_IDS%:*}" >"$gadget/idVendor"
  echo "0x${GADGET_IDS#*:}" >"$gadget/idProduct"
  echo 0x0200 >"$gadget/bcdUSB"
  mkdir "$gadget/strings/0x409" "$gadget/configs/c.1"
  echo "$name" >"$gadget/strings/0x409/serialnumber"
  echo "Lab" >"$gadget/strings/0x409/manufacturer"
  echo "Stick" >"$gadget/strings/0x409/product"
  for ((unit = 0; unit < functions * luns; unit++)); do
    folder=$gadget/functions/mass_storage.$((unit / luns))
    [ -d "$folder" ] || mkdir "$folder"
    folder=$folder/lun.$((unit % luns))
    image=$(image "$name" "$unit")
    [ -d "$folder" ] || mkdir "$folder"
    [ -e "$image" ] || random_file "$image" "$size"
    echo "$removable" >"$folder/removable"
    echo "$ro" >"$folder/ro"
    echo 0 >"$folder/nofua"
    if [ "$blocks" != 512 ]; then
      module loop
      image=$(losetup --find --show --sector-size "$blocks" "$image")
    fi
    echo "$image" >"$folder/file"
  done
  for ((unit = 0; unit < modems; unit++)); do
    module usb_f_acm cdc_acm
    mkdir "$gadget/functions/acm.$unit"
  done
  for folder in "$gadget"/functions/*; do ln -s "$folder" "$gadget/configs/c.1/"; done
  case $udc in
    vudc) echo usbip-vudc.0 ;;
    *) echo "dummy_udc.$udc" ;;
  esac >"$LAB_TMP/$name.udc"
  plug "$name"
}

# modem NAME [PORTS]: a gadget with so many of the kernel's ACM functions (/dev/ttyGS0, ttyGS1 …), plugged in.
modem() {
  local gadget=$GADGETS/$1 n
  module usb_f_acm
  mkdir "$gadget"
  echo "0x${GADGET_IDS%:*}" >"$gadget/idVendor"
  echo 0x0003 >"$gadget/idProduct"
  echo 0x0200 >"$gadget/bcdUSB"
  mkdir "$gadget/strings/0x409" "$gadget/configs/c.1"
  echo "$1" >"$gadget/strings/0x409/serialnumber"
  echo "Modem" >"$gadget/strings/0x409/product"
  for ((n = 0; n < ${2:-1}; n++)); do
    mkdir "$gadget/functions/acm.$n"
    ln -s "$gadget/functions/acm.$n" "$gadget/configs/c.1/"
  done
  echo dummy_udc.0 >"$LAB_TMP/$1.udc"
  plug "$1"
}

# image NAME [UNIT]: the file behind a gadget's logical unit, counted over its functions.
image() { echo "$LAB_TMP/$1.${2:-0}"; }

# plug NAME, unplug NAME: a gadget made by `stick`; the cable, so to say.
plug() {
  cat "$LAB_TMP/$1.udc" >"$GADGETS/$1/UDC"
  grep -q vudc "$LAB_TMP/$1.udc" || wait_for 5 "stick $1 on the bus" device_folder "$1"
}
unplug() { echo "" >"$GADGETS/$1/UDC"; }

# remove_gadgets: all of them, with their loop devices.
remove_gadgets() {
  local gadget lun
  for gadget in "$GADGETS"/*; do
    [ -d "$gadget" ] || continue
    [ -z "$(cat "$gadget/UDC")" ] || echo "" >"$gadget/UDC"
    find "$gadget/configs/c.1" -maxdepth 1 -type l -delete
    for lun in "$gadget"/functions/mass_storage.*/lun.*; do
      [ -d "$lun" ] || continue
      echo "" >"$lun/file"
      [ "${lun##*.}" = 0 ] || rmdir "$lun"
    done
    rmdir "$gadget"/functions/* "$gadget"/configs/*/ "$gadget"/strings/*/ "$gadget"
  done
  [ -z "$(losetup -a 2>/dev/null)" ] || losetup -D
}

# leave_alone_by_kernel 0|1: whether usb-storage and uas may bind to our gadgets from now on. usb-storage's quirk flag `i` means
# "ignore this device".
leave_alone_by_kernel() {
  local parameter=/sys/module/usb_storage/parameters/quirks
  [ -e "$parameter" ] || { [ "$1" = 0 ] || { module usb-storage sd_mod; }; }
  [ -e "$parameter" ] || return 0
  if [ "$1" = 1 ]; then echo "" >"$parameter"; else echo "$GADGET_IDS:i" >"$parameter"; fi
}

# device_folder SERIAL: the device's folder in sysfs, once it is configured.
device_folder() {
  local serial
  for serial in /sys/bus/usb/devices/*/serial; do
    [ "$(cat "$serial" 2>/dev/null)" = "$1" ] || continue
    [ -e "${serial%/*}/bConfigurationValue" ] || continue
    echo "${serial%/*}"
    return 0
  done
  return 1
}

# bus_path SERIAL: as users name it, such as 1-1.
bus_path() { basename "$(device_folder "$1")"; }

# device_node SERIAL: /dev/bus/usb/BBB/DDD
device_node() {
  local folder
  folder=$(device_folder "$1") || return 1
  printf '/dev/bus/usb/%03d/%03d\n' "$(cat "$folder/busnum")" "$(cat "$folder/devnum")"
}

# allow SERIAL: gives the user without rights this one device node, as a udev rule would.
allow() {
  local node
  wait_for 5 "device $1" device_node "$1"
  node=$(device_node "$1")
  wait_for 5 "$node" test -c "$node"
  chown "$LAB_UID" "$node"
  chmod 0600 "$node"
}

# kernel_driver SERIAL [INTERFACE]: the name of the driver bound to it (default 0); empty when there is none.
kernel_driver() {
  local link
  for link in "$(device_folder "$1")"/*:1."${2:-0}"/driver; do
    [ ! -e "$link" ] || basename "$(readlink "$link")"
  done
}

# kernel_driver_is SERIAL NAME [INTERFACE]
kernel_driver_is() { [ "$(kernel_driver "$1" "${3:-0}")" = "$2" ]; }

# kernel_disk SERIAL [LUN]: the block device that the kernel's usb-storage made of it.
kernel_disk() {
  local folder block
  folder=$(device_folder "$1") || return 1
  for block in "$folder"/*:1.0/host*/target*/*:"${2:-0}"/block/*; do
    [ -b "/dev/${block##*/}" ] || continue
    echo "/dev/${block##*/}"
    return 0
  done
  return 1
}

# detach_imported: what `usbip attach` has given to vhci_hcd. The columns of its status: hub, port, state (6: in use).
detach_imported() {
  local controller=/sys/devices/platform/vhci_hcd.0 port state
  while read -r _ port state _; do
    [ "$state" != 006 ] || echo "$((10#$port))" >"$controller/detach"
  done <"$controller/status"
}
