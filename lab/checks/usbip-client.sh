# A gadget exported over USB/IP by the kernel's own server side (usbip-vudc, usbipd), driven by our client: a third party speaks the other
# end of the protocol.
module usbip-vudc
stick far udc=vudc size=8M
usbipd --device --pid="$LAB_TMP/usbipd.pid" >"$LAB_TMP/usbipd.log" 2>&1 9>&- &
usbipd=$!
exported() { usbip list -r 127.0.0.1 | grep -q usbip-vudc.0; }
wait_for 10 "usbipd" exported

bytes() {
  start_run main usbip:127.0.0.1/usbip-vudc.0
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image far)"
  random_file "$LAB_TMP/written" 8M
  as_user nbdcopy --flush - "$(uri main sd0)" <"$LAB_TMP/written"
  same_bytes "$(image far)" "$LAB_TMP/written"
}
check "read and written byte for byte" bytes

at_the_end() { stop main; }
check "ended with status 0, nothing left" at_the_end

twice() {
  start_run main --grace 1 usbip:127.0.0.1:3240/usbip-vudc.0
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image far)"
}
check "imported again" twice

unplugged() {
  unplug far
  wait_event main '.event == "detach"'
  # Nothing can bring it back, so the run ends by itself.
  wait_for 15 "end of run main" ended main
  nothing_left
}
check "the far device is unplugged, detach, nothing left" unplugged
kill_rumpusb

no_such_device() {
  start wrong run --json usbip:127.0.0.1/9-9
  wait_for 20 "end of run wrong" ended wrong
  [ "$(cat "$LAB_TMP/run.wrong.status")" != 0 ] || fail "status 0"
  events wrong '.event == "error"' | grep -q '9-9' || fail "no error that names it: $(cat "$LAB_TMP"/run.wrong.*)"
  nothing_left
}
check "a bus id that is not exported, an error that names it" no_such_device

kill "$usbipd"
