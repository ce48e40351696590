# Our simulated serial adapters, imported by the kernel's vhci_hcd and driven by its ftdi_sio, cp210x, ch341, pl2303 and cdc_acm: a
# third party reads the models. Settings, lines, break and bytes of every chip.
. "$LAB_ROOT/lab/guest/serial.sh"
CHECK_SECONDS=120

# drives CHIP DRIVER [FRAME [FLOW]]: binds; bytes come back at several rates; settings, lines and break reach the model, and its lines
# the program. FRAME: other than the usual one that it can be set to; FLOW: what CRTSCTS makes of the model.
drives() {
  local chip=$1 driver=$2 frame=${3:-7E2} flow=,rtsCts tty up=cts, ri=ri breaks=(break:on made:9600,8N1,dtr,rts,break break:off made:9600,8N1,dtr,rts)
  # cdc_acm and ch341 know no flow control.
  [ "$driver" != cdc_acm ] || flow=""
  # ch341 makes a break of these by a slow rate and a character.
  [ "$chip" != hl340 ] || breaks=()
  serve "chip=$chip"
  tty=$(tty "$driver")
  program "$tty" open made:9600,8N1,dtr,rts loop:1 loop:20000 \
    set:115200,8N1 is:115200 made:115200,8N1,dtr,rts loop:5000 \
    set:250000,8N1 is:250000 made:250000,8N1,dtr,rts loop:5000 \
    "set:19200,$frame,rtscts" "made:19200,$frame$flow,dtr,rts" \
    set:9600,8N1 made:9600,8N1,dtr,rts lines:${up}dcd,dsr \
    lower:dtr made:9600,8N1,rts lines:cts "say:ring on" "lines:${up}$ri" raise:dtr "say:ring off" lines:cts,dcd,dsr \
    "${breaks[@]}" \
    close made:9600,8N1
  served
}

for chip in ft232r ft232h ftx; do check "ftdi_sio drives the $chip" drives "$chip" ftdi_sio; done
check "cp210x drives the cp2101" drives cp2101 cp210x 8E1
for chip in cp2102 cp2103 cp2104 cp2102n; do check "cp210x drives the $chip" drives "$chip" cp210x; done
for chip in ch340 ch341; do check "ch341 drives the $chip" drives "$chip" ch341-uart; done
check "ch341 drives the hl340" drives "hl340" ch341-uart 8N1
for chip in 01 h hx ta tb hxd hxn; do check "pl2303 drives the pl2303-$chip" drives "pl2303-$chip" pl2303; done
for chip in acm ch343; do check "cdc_acm drives the $chip" drives "$chip" cdc_acm; done
