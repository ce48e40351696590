# shellcheck shell=bash
# What bench/lab.mjs runs in the lab's guest: the same random reads by the kernel's usb-storage, by a C program on libusb and by our
# driver at the device switch, in turn, round after round. Each figure is a note `BENCH who mode bytes depth rate`.
# Settings by LAB_BENCH: rounds, and the program in C.

CHECK_SECONDS=900
read -r ROUNDS PROGRAM <"$LAB_ROOT/.lab/bench/settings"
SIZES=(4096:1500 65536:400 1048576:60)

on_kernel() { # 0|1
  local interface
  interface=$(basename "$(device_folder bench)"):1.0
  if [ "$1" = 1 ]; then echo "$interface" >/sys/bus/usb/drivers/usb-storage/bind
  else echo "$interface" >/sys/bus/usb/drivers/usb-storage/unbind; fi
}

by_program() { # MODE NODE
  local size
  for size in "${SIZES[@]}"; do note "BENCH c $1 ${size%:*} 1 $("$PROGRAM" "$1" "$2" "${size%:*}" "${size#*:}")"; done
}

by_driver() { # MODE DEPTH
  local rates size
  "$LAB_NODE" "$LAB_ROOT/bench/lab-port.mjs" "$(device_node bench)" "$1" "$2" 6000 "${SIZES[@]}" >"$LAB_TMP/rates"
  mapfile -t rates <"$LAB_TMP/rates"
  for size in "${!SIZES[@]}"; do note "BENCH ours $1 ${SIZES[$size]%:*} $2 ${rates[$size]}"; done
}

# System calls of one 4 KiB command: what the longer of two runs has more. clock_gettime is none where the kernel has a vDSO.
system_calls() { # MODE
  local few many
  few=$(count_calls "$1" 200)
  many=$(count_calls "$1" 700)
  note "BENCH ours $1 calls 1 $(awk -v a="$few" -v b="$many" 'BEGIN { printf "%.2f", (b - a) / 500 }')"
}
count_calls() { # MODE COUNT
  strace -f -c -o "$LAB_TMP/calls.$1.$2" "$LAB_NODE" "$LAB_ROOT/bench/lab-port.mjs" "$(device_node bench)" "$1" 1 100 "4096:$2" >/dev/null
  awk '$NF != "total" && $NF != "clock_gettime" && $4 ~ /^[0-9]+$/ { sum += $4 } END { print sum }' "$LAB_TMP/calls.$1.$2"
}

measure() {
  local round mode
  for ((round = 0; round < ROUNDS; round++)); do
    on_kernel 1
    wait_for 10 "the kernel's disk" kernel_disk bench
    by_program kernel "$(kernel_disk bench)"
    on_kernel 0
    for mode in sequence overlap together; do
      by_program "$mode" "$(device_node bench)"
      by_driver "$mode" 1
    done
    by_driver overlap 8
  done
  for mode in sequence overlap together; do system_calls "$mode"; done
}

echo 125000 >/sys/module/dummy_hcd/parameters/tick_ns
stick bench size=128M kernel=1
wait_for 10 "the kernel's disk" kernel_disk bench
on_kernel 0
check "bench" measure
