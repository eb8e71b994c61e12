/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What larder takes from itself before it listens, so that a hole in a parser is worth little: files but its own
 * (Landlock), and the system calls that no cache needs (seccomp). Nothing here needs a capability.
 *
 *   files    the store and the folders of its unix sockets may be written; the configuration's files, their folders,
 *            /etc and the system's libraries and data may be read; nothing else can be opened
 *   programs none can be started
 *   memory   no core is written, and no other program of the same user may look into this one
 *   calls    tracing and reading of other processes, mounting, namespaces, modules, keyrings, BPF, io_uring and their
 *            like fail with EPERM
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct sandbox_options {
	const char *const *writable; /* folders, which exist */
	size_t writable_count;
	const char *const *readable; /* files or folders; one that does not exist is passed over */
	size_t readable_count;
	/* Credential helpers are configured: they are programs, and read and write what is theirs, wherever the user
	 * may. Neither files nor programs are restricted then. */
	bool runs_programs;
};

/*
 * For this thread and all that it starts from now on, so it comes before any other thread. Cannot be taken back.
 * ERR_UNSUPPORTED: this kernel cannot restrict files (Landlock of Linux 5.19 or newer), the calls are restricted all
 * the same. ERR_IO: nothing may be relied on.
 */
int sandbox_enter(const struct sandbox_options *options, struct err *err);
