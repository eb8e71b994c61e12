/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager hands over and wants to hear: sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3), whose
 * protocols are stable and small. Not by libsystemd, which brings four compression and cryptography libraries into
 * every process for it. Main thread. Without a service manager all of it does nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Tells the manager, "READY=1", "STOPPING=1", "STATUS=…", several joined by line feeds. */
void systemd_notify(const char *state);

/* As READY=1 with RELOADING=1 needs it (sd_notify(3)): says that a reload begins. */
void systemd_notify_reloading(void);

/* How often the manager wants "WATCHDOG=1", in milliseconds, halved for safety; 0: it does not. */
uint64_t systemd_watchdog_ms(void);

/* Descriptors that the manager listens on for us (socket activation), in the order of the unit's; each is ours now, and
 * is not passed on. The count, at most `max`. */
size_t systemd_listeners(int *fds, size_t max);
