#!/bin/bash
# What both kinds of guest do once they have a writable root with /dev, /proc and /sys: the rest of the mounts, a user
# without rights, then every script of the run, and power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
set -a
. "$LAB_RUN/session.env"
LAB_ROOT=/opt/rumpusb
LAB_TMP=/run/lab
LAB_USER=lab
LAB_UID=4242
# A dot for each result of the script that runs, and a file that is there when its last line was reached.
LAB_RESULTS=/run/lab-results
LAB_REACHED_END=/run/lab-reached-end
set +a
cd /

mkdir -p /dev/pts /dev/shm "$LAB_ROOT"
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t securityfs none /sys/kernel/security 2>/dev/null
ip link set lo up

# A path that the user can walk, wherever the checkout lies.
mount --bind "$LAB_CHECKOUT" "$LAB_ROOT"
echo "$LAB_USER:x:$LAB_UID:$LAB_UID::/run/home:/bin/bash" >>/etc/passwd
echo "$LAB_USER:x:$LAB_UID:" >>/etc/group
mkdir -p "$LAB_TMP"
install -d -o "$LAB_UID" -g "$LAB_UID" -m 0700 /run/home "/run/user/$LAB_UID"

. "$LAB_ROOT/lab/guest/lib.sh"
LIBRARY=$(compgen -A function)
# shadowed SCRIPT: functions of the library that it defines anew. They would be called in the library's place, also by the library.
shadowed() { { echo "$LIBRARY"; grep -oE '^ *[A-Za-z_]+\(\)' "$1" | tr -d '() ' | sort -u; } | sort | uniq -d | tr '\n' ' '; }
# Once the host has said that it has every line: what it has not read by then is lost. Waits with a builtin: by then the root file
# system may be gone, and with it every program.
power_off() {
  sync
  report "LAB-OFF"
  read -r -t 30 _ <&"$LAB_FD"
  echo o >/proc/sysrq-trigger
  read -r -t 30 _ <&"$LAB_FD"
}
open_channel || { echo "lab: no channel to the host"; power_off; }
module configfs libcomposite usb_f_mass_storage dummy_hcd
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config

# run_script SCRIPT: in a session of its own, in which nothing stays when it has ended or LAB_SCRIPT_SECONDS have gone by.
run_script() {
  local pid status
  rm -f "$LAB_REACHED_END"
  # shellcheck disable=SC2016
  setsid timeout --signal=KILL "$LAB_SCRIPT_SECONDS" \
    bash -c '. "$1/lab/guest/lib.sh"; . "$2"; status=$?; : >"$LAB_REACHED_END"; exit $status' "$1" "$LAB_ROOT" "$1" </dev/null &
  pid=$!
  wait "$pid"
  status=$?
  pkill -KILL -s "$pid"
  case $status in
    0) [ -e "$LAB_REACHED_END" ] || report_result "FAIL $(basename "$1"): the script ended before its last line, with status 0" ;;
    137) report_result "FAIL $(basename "$1"): not done after $LAB_SCRIPT_SECONDS s" ;;
    *) report_result "FAIL $(basename "$1"): the script ended with status $status" ;;
  esac
}

while IFS= read -r script; do
  # A script inside the checkout is taken by its path there, so that it finds its neighbours.
  echo "lab: $script"
  : >"$LAB_RESULTS"
  report "LAB-SCRIPT $(basename "$script")"
  shadowed=$(shadowed "$script")
  if [ -n "$shadowed" ]; then
    report_result "FAIL $(basename "$script"): it defines functions of the library: $shadowed"
  else
    run_script "$script"
    clean_up </dev/null
  fi
  report "LAB-DONE $(stat -c %s "$LAB_RESULTS")"
done <<<"$LAB_SCRIPTS"
report "LAB-END"
power_off
