# What the process of a locked driver is, and the one that serves its clients, seen from outside, with a real usbfs descriptor. A guest in a chroot has no user
# namespaces (unshare(2)), so the level may be no-userns here.
stick first size=8M
allow first

status_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

# is_locked PID DEVICES: filtered, without rights, with so many devices open.
is_locked() {
  [ "$(status_of "$1" Seccomp)" = 2 ] || fail "Seccomp $(status_of "$1" Seccomp)"
  [ "$(status_of "$1" NoNewPrivs)" = 1 ] || fail "NoNewPrivs $(status_of "$1" NoNewPrivs)"
  [ "$(status_of "$1" CapEff)" = 0000000000000000 ] || fail "CapEff $(status_of "$1" CapEff)"
  [ "$(find "/proc/$1/fd" -lname '/dev/bus/usb/*' | wc -l)" = "$2" ] || fail "not $2 devices: $(ls -l "/proc/$1/fd")"
}

locked() {
  local level
  start_run main "@first"
  level=$(field main '.event == "sandbox"' level)
  case $level in
  full | no-userns) ;;
  *) fail "level $level: $(events main '.event == "sandbox"')" ;;
  esac
  is_locked "$(rump_pid main)" 1
  is_locked "$(pud_pid)" 0
  stop main
}
check "filtered and without rights, the driver's process with one device, the pud process with none" locked

# This kernel gives programs no vDSO (vdso(7)): what is read there elsewhere is a system call.
late() { "$LAB_NODE" "$LAB_ROOT/test/sandbox/late-process.mjs" standard "$1"; }
crypto() { "$LAB_NODE" "$LAB_ROOT/test/sandbox/late-crypto-process.mjs" standard "$1"; }
for purpose in device serve; do
  check "what the runtime does late, in a process locked for $purpose" late "$purpose"
  check "node:crypto, used for the first time in a process locked for $purpose" crypto "$purpose"
done
