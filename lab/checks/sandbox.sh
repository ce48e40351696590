# What the process of a locked driver is, seen from outside, with a real usbfs descriptor. A guest in a chroot has no user
# namespaces (unshare(2)), so the level may be no-userns here.
stick first size=8M
allow first

status_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

locked() {
  local pid level
  start_run main "@first"
  pid=$(rump_pid main)
  level=$(field main '.event == "sandbox"' level)
  case $level in
  full | no-userns) ;;
  *) fail "level $level: $(events main '.event == "sandbox"')" ;;
  esac
  [ "$(status_of "$pid" Seccomp)" = 2 ] || fail "Seccomp $(status_of "$pid" Seccomp)"
  [ "$(status_of "$pid" NoNewPrivs)" = 1 ] || fail "NoNewPrivs $(status_of "$pid" NoNewPrivs)"
  [ "$(status_of "$pid" CapEff)" = 0000000000000000 ] || fail "CapEff $(status_of "$pid" CapEff)"
  [ "$(find "/proc/$pid/fd" -lname '/dev/bus/usb/*' | wc -l)" = 1 ] || fail "not one device: $(ls -l "/proc/$pid/fd")"
  stop main
}
check "the driver's process: filtered, without rights, with one device" locked

# This kernel gives programs no vDSO (vdso(7)): what is read there elsewhere is a system call.
late() { "$LAB_NODE" "$LAB_ROOT/test/sandbox/late-process.mjs" standard "$1"; }
crypto() { "$LAB_NODE" "$LAB_ROOT/test/sandbox/late-crypto-process.mjs" standard "$1"; }
for purpose in device serve; do
  check "what the runtime does late, in a process locked for $purpose" late "$purpose"
  check "node:crypto, used for the first time in a process locked for $purpose" crypto "$purpose"
done
