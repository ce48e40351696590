#ifndef RUMPUSB_FIRST_FILTER_H
#define RUMPUSB_FIRST_FILTER_H

/*
 * Refuses what no start-up needs, for the time until the program locks itself (lock.cc): no other process (clone(2) makes
 * threads only), no socket, no way round a later filter (io_uring). What is refused is answered ENOSYS. Needs no_new_privs.
 * Returns 0, or -1 with errno.
 */
int install_first_filter(void);

#endif
