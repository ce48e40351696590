# shellcheck shell=bash
# What bench/lab.mjs runs in the lab's guest: gadgets for the contenders of each group, and the referee (lab-guest.mjs), whose lines
# go out as notes `BENCH …`. Settings by .lab/bench/settings: rounds, seconds that a group may take, then the groups; in the next line the
# checkout that this one is measured against. Each group is a check of its own: one that fails, or takes too long, costs the others nothing.

{
  read -r ROUNDS CHECK_SECONDS GROUPS_ASKED
  read -r OTHER_ROOT
} <"$LAB_ROOT/.lab/bench/settings"

tick() { echo "$1" >/sys/module/dummy_hcd/parameters/tick_ns; }

referee() { # GROUP SECOND THIRD [VARIANT]
  local line
  "$LAB_NODE" "$LAB_ROOT/bench/lab-guest.mjs" "$ROUNDS" "$(kernel_disk first)" "$@" | while IFS= read -r line; do
    note "BENCH $line"
  done
}

group() { # as referee
  [[ " $GROUPS_ASKED " == *" $1 "* ]] || return 0
  check "bench $1 ${4:-}" referee "$@"
}

tick 125000
stick first size=64M kernel=1
wait_for 10 "the kernel's disk" kernel_disk first
stick second size=64M udc=1
stick third size=64M udc=2
group switch "$(device_node second)" "$(device_node third)"
group profile "$(device_node second)" "$(device_node third)" "$(bus_path third)"
group against "$(bus_path second)" "$(bus_path third)" "$OTHER_ROOT $(device_node second) $(device_node third)"
for tick_ns in 250000 1000000; do
  tick "$tick_ns"
  group slow "$(device_node second)" "$(device_node third)" "$((tick_ns / 1000)) µs"
done
tick 125000
unplug third
truncate -s 2T "$(image huge)"
stick huge udc=2
group growth "$(device_node second)" "$(device_node huge)"
unplug huge
plug third
group levels "$(bus_path second)" "$(bus_path third)"
unplug second
# Ids of which the driver knows that all three phases may wait together (quirks.ts).
GADGET_IDS=1d6b:0104
stick early size=64M udc=1
group path "$(bus_path third)" "$(bus_path early)"
