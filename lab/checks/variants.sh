# Media of other kinds behind the kernel's gadget: write-protected, several units, 4096-byte blocks.
stick protected ro=1
allow protected
sha256sum "$(image protected)" >"$LAB_TMP/sum"

protected() {
  start_run main "@protected"
  [ "$(field main '.event == "node"' readOnly)" = true ] || fail "readOnly is not true"
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image protected)"
  refused as_user nbdcopy "$LAB_TMP/read" "$(uri main sd0)"
  sha256sum --check --quiet "$LAB_TMP/sum"
  stop main
}
check "a write-protected stick is served read-only" protected
remove_gadgets

stick double luns=2 size=8M
allow double
units() {
  local lun node
  start_run main "@double"
  wait_event main '.event == "link"' 2
  for lun in 0 1; do
    node=sd$lun
    as_user nbdcopy "$(uri main $node)" - >"$LAB_TMP/read"
    same_bytes "$LAB_TMP/read" "$(image double $lun)"
    random_file "$LAB_TMP/written" 8M
    as_user nbdcopy --flush - "$(uri main $node)" <"$LAB_TMP/written"
    same_bytes "$(image double $lun)" "$LAB_TMP/written"
  done
  stop main
}
check "two units are two nodes, each with its own bytes" units
remove_gadgets

stick wide blocks=4096 size=8M
allow wide
wide() {
  start_run main "@wide"
  [ "$(field main '.event == "node"' blockBytes)" = 4096 ] || fail "blockBytes $(field main '.event == "node"' blockBytes)"
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image wide)"
  random_file "$LAB_TMP/written" 8M
  as_user nbdcopy --flush - "$(uri main sd0)" <"$LAB_TMP/written"
  stop main
  # The loop device between gadget and file writes behind: ask for what it holds.
  sync
  same_bytes "$(image wide)" "$LAB_TMP/written"
}
check "4096-byte blocks" wide
