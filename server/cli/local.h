/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A larder in this process, for commands with --store: it opens a store that no other process holds, is offline, and
 * answers the admin API on a socket that only this user can reach. So a command is written once, against the admin API.
 */
#pragma once

struct command;
struct local;

/* Starts it. The configuration is the one that `serve` would read. The command says whether the store's configured
 * limits hold (else nothing is evicted), and whether one is made where there is none. Returns an exit status; what is
 * wrong has been said then. */
int local_start(const char *store, const struct command *command, struct local **out);
/* "unix:/PATH" */
const char *local_url(const struct local *local);
/* Ends it and gives the store back. Takes NULL. */
void local_stop(struct local *local);
