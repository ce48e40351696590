# As vhci-serial.sh: adapters with several ports, null modems, damaged characters, and the control requests that the kernel sends, which
# are those of test/fixtures/kernel-serial where it is the kernel that they were recorded with. Our drivers are compared with them in
# test/dev/usb/ucom/kernel-requests.test.ts.
. "$LAB_ROOT/lab/guest/serial.sh"
RECORDED=$LAB_ROOT/test/fixtures/kernel-serial
RECORDED_WITH=$(cat "$RECORDED/kernel")
CHECK_SECONDS=120

# errors DRIVER STEPS… -- OPTION…: what the model damages is marked, or counted, by the kernel.
errors() {
  local driver=$1 steps=()
  shift
  while [ "$1" != -- ]; do steps+=("$1"); shift; done
  serve "${@:2}"
  program "$(tty "$driver")" open mark:on wait:300 "${steps[@]}" mark:off drop loop:300 close
  served
}

# null_modem CHIP DRIVER COUNT OPTION…: the first two of COUNT ports, each at the other's end.
null_modem() {
  local driver=$2 count=$3 one two other low=
  # cdc_acm says that CTS is up: there is none in SERIAL_STATE.
  [ "$driver" != cdc_acm ] || low=cts
  serve "chip=$1" wiring=null-modem "${@:4}"
  one=$(tty "$driver" "$count" 0)
  two=$(tty "$driver" "$count" 1)
  program "$two" open set:57600,8N1 expect:question send:answer wait:500 "lines:$low" close &
  other=$!
  # The other one closes last: it sees the lines fall.
  program "$one" open set:57600,8N1 wait:300 send:question expect:answer close
  wait "$other"
  served
}

# every_port CHIP DRIVER COUNT OPTION…: each hears itself alone.
every_port() {
  local driver=$2 count=$3 n
  serve "chip=$1" "${@:4}"
  for ((n = 0; n < count; n++)); do program "$(tty "$driver" "$count" "$n")" open set:38400,8N1 loop:$((1000 + n)) close; done
  served
}

# recorded CHIP DRIVER [FRAME [COUNT]]: the requests of open, settings, lines, break and close, by the last of COUNT ports.
recorded() {
  local count=${4:-1} breaks=(break:on break:off)
  [ "$1" != hl340 ] || breaks=()
  serve "chip=$1"
  tty "$2" "$count" "$((count - 1))" >"$LAB_TMP/tty"
  program --record "$(cat "$LAB_TMP/tty")" open "set:9600,${3:-7E2}" set:115200,8N1,rtscts set:12345,8N1 \
    lower:dtr raise:dtr lower:rts raise:rts "${breaks[@]}" close >"$LAB_TMP/requests"
  served
  [ "$(uname -r)" = "$RECORDED_WITH" ] || return 0
  diff "$RECORDED/$1.txt" "$LAB_TMP/requests" || {
    sed "s/^/RECORDED $1 /" "$LAB_TMP/requests"
    fail "other requests than those of $1.txt"
  }
}

for chip in ft2232h ft4232h; do check "ftdi_sio drives each port of the $chip" every_port "$chip" ftdi_sio "$([ "$chip" = ft2232h ] && echo 2 || echo 4)"; done
check "cp210x drives each port of the cp2108" every_port cp2108 cp210x 4
check "cdc_acm drives each function of a modem with three" every_port acm cdc_acm 3 ports=3
check "cdc_acm finds the data interface by call management" every_port acm cdc_acm 1 shape=no-union
check "cdc_acm drives a modem on one interface" every_port acm cdc_acm 1 shape=one-interface
check "ftdi_sio, a null modem between the ports of the ft2232h" null_modem ft2232h ftdi_sio 2
check "cp210x, a null modem between the ports of the cp2105" null_modem cp2105 cp210x 2
check "cdc_acm, a null modem between two functions" null_modem acm cdc_acm 2 ports=2

# Time for the kernel to ask for the next notification.
damaged=()
for kind in framing parity break; do damaged+=("say:error $kind" marked:ff0000 wait:200); done
check "ftdi_sio marks and counts what the model damages" errors ftdi_sio "${damaged[@]}" counts:frame=1,parity=1,brk=1 -- chip=ft232r
check "cp210x marks and counts what the model damages" errors cp210x "${damaged[@]}" counts:frame=1,parity=1,brk=1 -- chip=cp2104
check "pl2303 marks what the model damages" errors pl2303 "${damaged[@]}" -- chip=pl2303-hx
check "cdc_acm counts what the model damages" errors cdc_acm say:"error framing" say:"error parity" say:"error break" say:"error overrun" \
  counts:frame=1,parity=1,brk=1,overrun=1 -- chip=acm

for row in ft232r:ftdi_sio ft2232h:ftdi_sio:7E2:2 cp2102:cp210x cp2104:cp210x ch340:ch341-uart hl340:ch341-uart:8N1 pl2303-hx:pl2303 pl2303-hxn:pl2303 acm:cdc_acm; do
  IFS=: read -r chip driver frame count <<<"$row"
  check "$driver sends to the $chip what was recorded" recorded "$chip" "$driver" "$frame" "$count"
done
